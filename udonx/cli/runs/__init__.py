"""The commands of `udonx runs`, each a file."""
