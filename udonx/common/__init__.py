"""What every room may use and what knows none of them: errors, progress bars, files that are
written whole, seeds.
"""
