"""What has been run: each row and seed with its state, and what may be removed. Needs no torch."""
