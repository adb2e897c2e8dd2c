"""What an experiment needs from outside, found and opened: start weights, data sources."""
