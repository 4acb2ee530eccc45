"""The work of consumers that write: each message is one line of a file, or of the standard output."""
