"""From experiments to finished tables.

Everything is checked, then what is missing is trained and evaluated.
"""
