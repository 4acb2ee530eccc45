"""Real servers for the tests, as fixtures."""
