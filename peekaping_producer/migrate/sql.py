"""What migrations of all SQL databases share."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

from peekaping_producer.migrate.files import LEDGER
from peekaping_producer.stores.rows import Row
from peekaping_producer.targets import DatabaseTarget


def record(name: str) -> str:
    """The statement that writes `name` into the ledger."""
    return f"INSERT INTO {LEDGER} (name) VALUES ('{name}');\n"  # noqa: S608 - the name of one of our files


class SqlConnection(ABC):
    """See Connection."""

    tables_among: ClassVar[str]
    """A query for the tables that exist among some, whose quoted names replace the braces."""

    def __init__(self, connection: Any, target: DatabaseTarget) -> None:
        self._connection = connection
        self._target = target

    async def tables(self, names: Sequence[str]) -> set[str]:
        """Which of these tables exist."""
        quoted = ", ".join(f"'{name}'" for name in names)
        return {row[0] for row in await self.fetch(self.tables_among.format(quoted))}

    async def applied(self) -> set[str]:
        """The names in the ledger."""
        return {row[0] for row in await self.fetch(f"SELECT name FROM {LEDGER}")}  # noqa: S608

    @abstractmethod
    async def run(self, script: str) -> None:
        """Run the statements of one text, in order; the first that fails ends it."""

    @abstractmethod
    async def fetch(self, statement: str) -> list[Row]:
        """The rows of one statement."""
