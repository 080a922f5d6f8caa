"""Tiny numpy FedAvg app of the flower_quickstart example."""
