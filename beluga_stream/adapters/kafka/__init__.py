"""Kafka: the log, the changelog table and topic administration, over aiokafka."""
