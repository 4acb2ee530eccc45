"""One replica: its parts, and its life."""
