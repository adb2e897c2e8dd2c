"""Vectors of images on disk, and the search among them."""
