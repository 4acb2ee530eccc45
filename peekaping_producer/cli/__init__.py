"""The command line: each module parses, calls and prints for one group of commands."""
