"""A database that raises errors, or shows no row."""

from collections.abc import Callable
from typing import Any

from peekaping_producer.stores import Loaded
from tests.kit.memory_store import MemoryStore


class UnforeseenError(Exception):
    """An error of a driver or a decoder that the code does not expect."""


class FaultyDatabase(MemoryStore):
    """The rows; for a while it may show none of them, as a wrong replica does."""

    shows_nothing: bool = False
    raising: frozenset[str] = frozenset()
    """Rows that cannot be read, together with any others."""
    on_empty_answer: Callable[[], None] = staticmethod(lambda: None)

    def _read(self, what: str) -> None:
        super()._read(what)
        if self.shows_nothing:
            self.on_empty_answer()

    async def load(self, ids: list[str]) -> Loaded:
        if self.raising & set(ids):
            raise UnforeseenError("a row of an unknown form")
        return await super().load(ids)

    def __getattribute__(self, name: str) -> Any:
        if name == "rows" and super().__getattribute__("shows_nothing"):
            return {}
        return super().__getattribute__(name)
