"""What is kept: stages, evaluations, tables, and the record of every run."""
