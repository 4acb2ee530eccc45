"""Tables of monitors in memory, of which a test makes some fail, and a clock."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from peekaping_producer.stores.errors import BadRowsError, StatementTimeoutError
from peekaping_producer.stores.limits import Limits
from peekaping_producer.stores.loading import Loader
from peekaping_producer.stores.rows import Row

IDS = [f"m{n}" for n in range(1, 101)]
PUSH = {f"m{n}" for n in range(3, 101, 3)}
LINKED = {f"m{n}" for n in range(5, 101, 5)}
NUMBERS = [5, 16, 3, 30, 10]


class FakeClock:
    """Seconds that pass only when a test moves them."""

    now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s

    def pass_rest(self) -> None:
        self.now_s += Limits().retry_after_s + 0.1


class Tables:
    """A TableReader: ids m0, m1, ...; every third is a push monitor, and every fifth has a proxy and a window."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, list[str]]] = []
        self.faults: dict[str, Callable[[Sequence[str]], Exception | None]] = {}
        self.odd: dict[str, tuple[int, Any]] = {}
        self.size = 10

    async def fetch(self, table: str, keys: Sequence[str], max_bytes: int, timeout_s: float) -> list[Row]:
        self.asked.append((table, list(keys)))
        if error := self._fault_of(table, keys):
            raise error
        return [row for key in keys for row in self._rows(table, key)]

    def _fault_of(self, table: str, keys: Sequence[str]) -> Exception | None:
        return self.faults[table](keys) if table in self.faults else None

    def _rows(self, table: str, key: str) -> list[tuple[Any, ...]]:
        number = int(key[1:]) if key[1:].isdigit() else 0
        match table:
            case "monitors":
                kind, proxy = "push" if number % 3 == 0 else "http", "p1" if number % 5 == 0 else None
                row: list[Any] = [key, self.size, key, "name", kind, *NUMBERS, True, "{}", proxy]
                if key in self.odd:
                    at, value = self.odd[key]
                    row[at] = value
                return [tuple(row)]
            case "plans":
                return [(key, 0, True, 60)]
            case "monitor_maintenances":
                return [(key, 0, "w1")] if number % 5 == 0 else []
            case "maintenances":
                return [(key, 10, key, True, "manual", *[None] * 8)]
            case "proxies":
                return [(key, 10, key, "http", "h", 1, False, None, "")]
            case _:
                return [(key, 10, f"h{key}", key, 1, None, 1, 1, 1, 1, True, "2026-11-22 12:00:00", None, True)]

    def count(self, table: str) -> int:
        return sum(each == table for each, _ in self.asked)


@pytest.fixture
def tables() -> Tables:
    return Tables()


@pytest.fixture
def loader_clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def loader(loader_clock: FakeClock) -> Loader:
    return Loader(Limits(), loader_clock)


def late_with(*bad: str) -> Callable[[Sequence[str]], Exception | None]:
    return lambda keys: StatementTimeoutError("no answer in time") if set(bad) & set(keys) else None


def bad_with(*bad: str) -> Callable[[Sequence[str]], Exception | None]:
    return lambda keys: BadRowsError("row is damaged") if set(bad) & set(keys) else None
