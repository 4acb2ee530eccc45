"""The time zone data that a test runs with.

golden/zoneinfo holds the files (tzdata 2025b, public domain) that upstream's verdicts were given with: countries change
their clocks, and a machine with other data would give other verdicts, and be right.
"""

import zoneinfo
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from peekaping_producer.monitors import cron, maintenance, zones

GOLDEN = (str(Path(__file__).parent.parent / "golden/zoneinfo"),)
PACKAGED = ()
"""Nowhere to look: zoneinfo falls back on the package tzdata."""


@contextmanager
def zones_from(path: Sequence[str]) -> Iterator[None]:
    """Look for zone files there first."""
    try:
        _look_in(path)
        yield
    finally:
        _look_in(None)


def _look_in(path: Sequence[str] | None) -> None:
    zoneinfo.reset_tzpath(to=path)
    zoneinfo.ZoneInfo.clear_cache()
    for cached in (cron._parse, zones._named, zones._changes, maintenance._instant_ms, maintenance._first_run):
        cached.cache_clear()
