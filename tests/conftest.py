"""Fixtures that every test may ask for."""

pytest_plugins = ["tests.servers.redis", "tests.servers.postgres", "tests.servers.mysql", "tests.servers.schedule"]
