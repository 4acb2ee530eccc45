"""The migrations as files: `migrations/<dialect>/NNNN_name.sql`, or `.json` for MongoDB."""

from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

import msgspec

LEDGER = "peekaping_producer_migrations"
"""The table of the migrations that were applied."""
LOCK_TIMEOUT_S = 60.0
"""How long a migration waits for another replica's."""


class Migration(msgspec.Struct, frozen=True):
    """One file: its name without the suffix, and its content."""

    name: str
    text: str


def migrations(dialect: str) -> list[Migration]:
    """The migrations of a dialect, in order."""
    found = [
        Migration(file.name.rpartition(".")[0], file.read_text("utf-8")) for file in (_folder() / dialect).iterdir()
    ]
    return sorted(found, key=lambda migration: migration.name)


def _folder() -> Traversable:
    """Inside the installed package; in a checkout, beside it."""
    packaged = files("peekaping_producer") / "migrations"
    return packaged if packaged.is_dir() else Path(__file__).resolve().parents[2] / "migrations"
