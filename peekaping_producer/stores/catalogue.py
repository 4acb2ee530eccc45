"""What a database reports about itself and its tables, for `doctor`: version, indexes, rights, windows."""

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from peekaping_producer.monitors.maintenance import MaintenanceWindow

INDEXES: Mapping[str, tuple[str, ...]] = {
    "monitors": ("id",),
    "proxies": ("id",),
    "maintenances": ("id",),
    "monitor_maintenances": ("monitor_id",),
    "heartbeats": ("monitor_id", "time"),
}
"""For each table, the columns with which an index must begin: reads by other columns there are none."""
TABLES = tuple(INDEXES)


class Catalogue(msgspec.Struct, frozen=True):
    """Facts of one database."""

    version: str
    """The product and its version."""
    missing_indexes: tuple[str, ...] | None
    """`table (column, column)`; None if they are not known."""
    writable: tuple[str, ...] | None
    """The tables that the user may write to; None if that is not known."""


class WindowsRead(msgspec.Struct, frozen=True):
    """The active maintenance windows."""

    windows: tuple[MaintenanceWindow, ...] = ()
    broken: Mapping[str, str] = {}
    """Rows that cannot be used, by id, with the reason."""


def missing_indexes(found: Iterable[Sequence[str]], tables: Iterable[str] = TABLES) -> tuple[str, ...]:
    """Return the indexes of `tables` that are missing. `found`: table and columns, with commas, of each index."""
    existing = [(table, tuple(columns.split(","))) for table, columns in found]
    return tuple(
        f"{table} ({', '.join(INDEXES[table])})"
        for table in tables
        if not any(name == table and columns[: len(INDEXES[table])] == INDEXES[table] for name, columns in existing)
    )
