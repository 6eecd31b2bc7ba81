"""The outside world: Kafka, Faust, files, memory. Adapters know the ports and not one another's insides."""
