"""A service of a server process, which answers HTTP requests, and worker processes."""

from src import meta

__all__ = ["meta"]
