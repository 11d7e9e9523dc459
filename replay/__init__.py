"""Replays of traces and generated workloads under routing rules, on simulated and real engines."""

__all__: list[str] = []
