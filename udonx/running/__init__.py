"""From experiments to finished tables: everything is checked, then what is missing is trained and
evaluated.
"""
