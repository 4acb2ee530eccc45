"""What the module of each dialect provides: connections that read, lock and write."""

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from importlib import import_module
from typing import Protocol

from peekaping_producer.targets import DatabaseTarget


class Connection(Protocol):
    """A database as a migration sees it. Every method raises StoreError."""

    async def tables(self, names: Sequence[str]) -> set[str]:
        """Which of these tables exist."""
        ...

    async def applied(self) -> set[str]:
        """The names in the ledger, which must exist."""
        ...

    async def run(self, script: str) -> None:
        """Run the statements of one text, in order."""
        ...


class Dialect(Protocol):
    """The functions of each dialect's module."""

    CREATE_LEDGER: str

    def record(self, name: str) -> str:
        """The statement that writes `name` into the ledger."""
        ...

    def read_only(self, target: DatabaseTarget) -> AbstractAsyncContextManager[Connection]:
        """A connection without a lock; it creates no file."""
        ...

    def locked(self, target: DatabaseTarget) -> AbstractAsyncContextManager[Connection]:
        """A connection that only one migration of all processes has at the same time.

        Where the database has transactions for it, all that it runs takes effect when the block ends without an error,
        or not at all.
        """
        ...


def dialect_of(target: DatabaseTarget) -> Dialect:
    """The module for a target's dialect."""
    # Imported when used: a driver that is not needed costs start-up time and memory.
    module: Dialect = import_module(f"{__package__}.{target.dialect}")
    return module
