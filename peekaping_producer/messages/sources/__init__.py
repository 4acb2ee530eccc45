"""Where messages come from: a file that grows, or a clock."""
