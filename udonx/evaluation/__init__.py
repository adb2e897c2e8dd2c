"""Exact k-NN search and the retrieval metrics of the benchmark (R@1, mMP@5)."""
