"""The state of a database's tables, and how a run of the migrations changes it."""

import os
from collections.abc import Sequence

import msgspec

from peekaping_producer.errors import StoreRefusedError
from peekaping_producer.migrate.dialect import Connection, dialect_of
from peekaping_producer.migrate.files import LEDGER, Migration, migrations
from peekaping_producer.stores.errors import CREATE_TABLES
from peekaping_producer.targets import DatabaseTarget

NO_TABLES = f"no tables; check the name of the database, then {CREATE_TABLES}"
"""What `migrate --check` reports for an empty database, which is probably a mistake: most are the API server's."""
_TABLES = ("monitors", "proxies", "maintenances", "monitor_maintenances", "heartbeats")
_COLLECTIONS = ("monitor", "proxies", "maintenance", "monitor_maintenance", "heartbeat")


class SchemaState(msgspec.Struct, frozen=True):
    """The state of a database."""

    missing: tuple[Migration, ...] = ()
    has_ledger: bool = False
    upstream: bool = False
    """The tables are the API server's: nothing is written."""

    def __str__(self) -> str:
        if self.upstream:
            return "Peekaping's own tables found: nothing to do"
        if self.missing and not self.has_ledger:
            return NO_TABLES
        return f"pending migrations: {_names(self.missing)}" if self.missing else "up to date: nothing to do"


class MigrationReport(msgspec.Struct, frozen=True):
    """What one run did."""

    before: SchemaState
    created_file: str | None = None
    """The SQLite file that this run created."""

    def __str__(self) -> str:
        if not self.before.missing:
            return str(self.before)
        made = f"created {self.created_file}; " if self.created_file else ""
        return f"{made}applied {_names(self.before.missing)}"


async def inspect(target: DatabaseTarget) -> SchemaState:
    """Compare the target's ledger with the migrations of this program; write nothing.

    Raises StoreError as MonitorStore.open() does; StoreRefusedError also if the ledger names an unknown migration, if
    only some of the tables exist without a ledger, and if the directory of a SQLite file does not exist.
    """
    async with dialect_of(target).read_only(target) as connection:
        return await _schema_state(connection, target)


async def migrate(target: DatabaseTarget) -> MigrationReport:
    """Bring the target's tables up to date; safe to repeat, and to run concurrently. Raises what inspect() does.

    The first inspection is without a lock, so that a database where nothing is missing is not touched.
    """
    new_file = _file_to_make(target)
    state = await inspect(target)
    if not state.missing:
        return MigrationReport(state)
    async with dialect_of(target).locked(target) as connection:
        state = await _schema_state(connection, target)
        for script in scripts(target, state):
            await connection.run(script)
    return MigrationReport(state, new_file if state.missing else None)


def scripts(target: DatabaseTarget, state: SchemaState) -> list[str]:
    """The texts that migrate() runs on a database in this state."""
    dialect = dialect_of(target)
    ledger = [dialect.CREATE_LEDGER] if state.missing and not state.has_ledger else []
    return ledger + [text for each in state.missing for text in (each.text, dialect.record(each.name))]


async def _schema_state(connection: Connection, target: DatabaseTarget) -> SchemaState:
    expected = _COLLECTIONS if target.dialect == "mongo" else _TABLES
    found = await connection.tables([*expected, LEDGER])
    known = migrations(target.dialect)
    if LEDGER not in found:
        if expected[0] in found:
            if target.dialect != "mongo" and (missing := set(expected) - found):
                raise StoreRefusedError(
                    f"{target}: missing tables: {', '.join(sorted(missing))}; finish the API server's migrations"
                )
            return SchemaState(upstream=True)
        if found:
            raise StoreRefusedError(
                f"{target}: found {', '.join(sorted(found))}, but neither {expected[0]} nor {LEDGER}: "
                "finish the API server's migrations, or remove these tables"
            )
        return SchemaState(tuple(known))
    applied = await connection.applied()
    if newer := sorted(applied - {each.name for each in known}):
        raise StoreRefusedError(
            f"{target}: {LEDGER} contains {', '.join(newer)}, unknown to this version; upgrade peekaping-producer"
        )
    return SchemaState(tuple(each for each in known if each.name not in applied), has_ledger=True)


def _file_to_make(target: DatabaseTarget) -> str | None:
    names = [os.path.abspath(candidate.name) for candidate in target.candidates]
    return names[0] if target.dialect == "sqlite" and not any(map(os.path.exists, names)) else None


def _names(missing: Sequence[Migration]) -> str:
    return ", ".join(each.name for each in missing)
