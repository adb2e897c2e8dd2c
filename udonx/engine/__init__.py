"""Training: one loop for every scheme, and the models that it makes."""
