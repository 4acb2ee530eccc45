"""Options of the command line for every scenario."""

from pathlib import Path

import msgspec


class Options(msgspec.Struct, frozen=True):
    """None stands for the value of the scenario's own row in docs/performance.md."""

    rounds: int = 3
    monitors: int | None = None
    batch: int = 500
    concurrency: int = 10
    replicas: int = 1
    go_producer: Path | None = None
    """An executable of upstream's producer, to compare with."""
    flush_given_servers: bool = False
    """Delete what given servers hold, instead of refusing them."""
