"""Exact k-NN search, the registered metrics of what it finds, and the benchmark's protocol."""
