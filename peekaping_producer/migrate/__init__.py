"""Create the tables that the producer reads, where the API server's own migrations have not made them.

The migrations are plain files, `<dialect>/NNNN_name.sql` (`.json` for mongo), applied in the order of their names and
written down in the table `peekaping_producer_migrations`. A database that has the monitors and not this table is the
API server's: nothing is written to it. One module per dialect knows how to look, lock and write.
"""

import os
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from importlib import import_module
from typing import Protocol

import msgspec

from peekaping_producer.errors import StoreError
from peekaping_producer.migrate.files import Migration, migrations
from peekaping_producer.stores import connections
from peekaping_producer.targets import DatabaseTarget

LEDGER = "peekaping_producer_migrations"
NO_TABLES = f"no tables (is the database's name right?): {connections.CREATE_TABLES}"
"""What `migrate --check` reports of an empty database, which it takes for a mistake: most are the API server's."""
_TABLES = ("monitors", "proxies", "maintenances", "monitor_maintenances", "heartbeats")
_COLLECTIONS = ("monitor", "proxies", "maintenance", "monitor_maintenance", "heartbeat")


class Connection(Protocol):
    """A database as a migration sees it. Every method raises StoreError or StoreUnavailableError."""

    async def tables(self, names: Sequence[str]) -> set[str]:
        """Which of these tables are there."""
        ...

    async def applied(self) -> set[str]:
        """The names that the ledger holds; to be asked only where there is one."""
        ...

    async def run(self, script: str) -> None:
        """Run the statements of one text, in order."""
        ...


class Dialect(Protocol):
    """What each module of this package offers."""

    CREATE_LEDGER: str

    def record(self, name: str) -> str:
        """The statement that writes `name` into the ledger."""
        ...

    def reading(self, target: DatabaseTarget) -> AbstractAsyncContextManager[Connection]:
        """A connection that takes no lock and writes nothing, nor makes a file."""
        ...

    def exclusive(self, target: DatabaseTarget) -> AbstractAsyncContextManager[Connection]:
        """A connection that no other migration has at the same time, in any process.

        Where the database can, all that it runs takes effect together, when the block ends well, or not at all.
        """
        ...


class Standing(msgspec.Struct, frozen=True):
    """How far a database is."""

    missing: tuple[Migration, ...] = ()
    has_ledger: bool = False
    upstream: bool = False
    """The tables are the API server's: nothing is ever written."""

    def __str__(self) -> str:
        if self.upstream:
            return "upstream schema found: nothing to do"
        if self.missing and not self.has_ledger:
            return NO_TABLES
        return f"behind: {_names(self.missing)} to be applied" if self.missing else "up to date: nothing to do"


class MigrationReport(msgspec.Struct, frozen=True):
    """What one run did."""

    before: Standing
    created_file: str | None = None
    """The SQLite file that this run made."""

    def __str__(self) -> str:
        if not self.before.missing:
            return str(self.before)
        made = f"created {self.created_file}; " if self.created_file else ""
        return f"{made}applied {_names(self.before.missing)}"


async def look(target: DatabaseTarget) -> Standing:
    """Compare the target's ledger with the migrations that this program has; writes nothing.

    Raises StoreUnavailableError and StoreError as MonitorStore.open() does; StoreError also where the ledger names a
    migration that this program does not know, where some of the tables are there without a ledger, and where a SQLite
    file's folder is missing.
    """
    async with dialect_of(target).reading(target) as connection:
        return await _standing(connection, target)


async def migrate(target: DatabaseTarget) -> MigrationReport:
    """Bring the target's tables up to date; safe to repeat, and when several start it at once. Raises what look() does.

    Looked at first, without a lock, so that nothing at all happens to a database where nothing is missing.
    """
    new_file = _file_to_make(target)
    standing = await look(target)
    if not standing.missing:
        return MigrationReport(standing)
    async with dialect_of(target).exclusive(target) as connection:
        standing = await _standing(connection, target)
        for script in scripts(target, standing):
            await connection.run(script)
    return MigrationReport(standing, new_file if standing.missing else None)


def scripts(target: DatabaseTarget, standing: Standing) -> list[str]:
    """The very texts that migrate() runs on a database that stands so."""
    dialect = dialect_of(target)
    ledger = [dialect.CREATE_LEDGER] if standing.missing and not standing.has_ledger else []
    return ledger + [text for each in standing.missing for text in (each.text, dialect.record(each.name))]


async def _standing(connection: Connection, target: DatabaseTarget) -> Standing:
    expected = _COLLECTIONS if target.dialect == "mongo" else _TABLES
    found = await connection.tables([*expected, LEDGER])
    known = migrations(target.dialect)
    if LEDGER not in found:
        if expected[0] in found:
            if target.dialect != "mongo" and (missing := set(expected) - found):
                raise StoreError(f"{target}: {', '.join(sorted(missing))} missing: finish the API server's migrations")
            return Standing(upstream=True)
        if found:
            raise StoreError(
                f"{target}: {', '.join(sorted(found))} already exists, but neither {expected[0]} nor {LEDGER} does: "
                "finish the API server's migrations, or remove what is half made"
            )
        return Standing(tuple(known))
    applied = await connection.applied()
    if newer := sorted(applied - {each.name for each in known}):
        raise StoreError(f"{target}: {LEDGER} names {', '.join(newer)}, which this version does not know: upgrade it")
    return Standing(tuple(each for each in known if each.name not in applied), has_ledger=True)


def _file_to_make(target: DatabaseTarget) -> str | None:
    names = [os.path.abspath(reading.name) for reading in target.readings]
    return names[0] if target.dialect == "sqlite" and not any(map(os.path.exists, names)) else None


def dialect_of(target: DatabaseTarget) -> Dialect:
    """The module for a target's dialect."""
    # Imported when used: a driver that is not needed costs start-up time and memory.
    module: Dialect = import_module(f"{__name__}.{target.dialect}")
    return module


def _names(missing: Sequence[Migration]) -> str:
    return ", ".join(each.name for each in missing)
