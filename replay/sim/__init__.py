"""The simulated cluster: continuous batching with prefix caching, event-skipping, bit-reproducible."""
