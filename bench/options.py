"""What the command line says to every scenario."""

from pathlib import Path

import msgspec


class Options(msgspec.Struct, frozen=True):
    """None: what the scenario's own row of docs/performance.md says."""

    rounds: int = 3
    monitors: int | None = None
    batch: int = 500
    concurrency: int = 10
    replicas: int = 1
    go_producer: Path | None = None
    """An executable of upstream's producer, to be run beside ours."""
    empty_them: bool = False
    """Delete what given servers hold, instead of refusing them."""
