"""`udonx data`: commands that prepare images of one's own, one file each."""
