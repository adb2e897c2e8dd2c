"""What every room may use and what knows none of them.

Errors, progress bars, files that are written whole, seeds.
"""
