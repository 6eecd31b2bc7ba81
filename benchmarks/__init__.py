"""How fast the engine is: `python -m benchmarks` measures it on real Kafka and compares it with its targets."""
