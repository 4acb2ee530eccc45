"""Fixtures that every test may ask for."""

pytest_plugins = [f"tests.servers.{name}" for name in ("redis", "postgres", "mysql", "mongo", "schedule", "sentinel")]
