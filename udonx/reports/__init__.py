"""Static pages of stored tables: what they say, drawn and in words."""
