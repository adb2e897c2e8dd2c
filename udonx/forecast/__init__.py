"""What work costs on this machine, what is left of it, and how long that will take."""
