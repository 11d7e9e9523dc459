"""Engines that a trace can be replayed on: the simulated one, transformers in process, any OpenAI-compatible server."""
