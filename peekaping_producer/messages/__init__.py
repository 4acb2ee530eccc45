"""Moves messages from sources to a broker, and from a broker to handlers and sinks."""
