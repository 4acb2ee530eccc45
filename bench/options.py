"""Command-line options of every scenario."""

from pathlib import Path

import msgspec


class Options(msgspec.Struct, frozen=True):
    """None: the scenario's own value, as in docs/performance.md."""

    rounds: int = 3
    monitors: int | None = None
    messages: int | None = None
    batch: int = 500
    concurrency: int = 10
    replicas: int = 1
    go_producer: Path | None = None
    """The executable of the Go producer, to compare with."""
    flush_given_servers: bool = False
    """Delete the data of given servers, instead of refusing them."""
