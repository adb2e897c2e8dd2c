"""Benchmarks in UnED's layout: splits, images, transforms, loading."""
