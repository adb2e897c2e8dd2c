"""Experiment files: from TOML to typed rows, with everything that is wrong reported at once."""
