"""Shared by tests/search and tests/invariants, which check the product's scripts call by call."""

from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha1
from typing import Any

from peekaping_producer.redis_client.script import Script


class InvariantError(AssertionError):
    """An invariant does not hold."""

    def __init__(self, invariant: str, monitor_id: str, what: str) -> None:
        super().__init__(f"{invariant} {monitor_id}: {what}")
        self.invariant = invariant


@dataclass(frozen=True)
class Mutation:
    """Removes one guard from a script."""

    script: str
    """Its name, or `prelude` for what all have in common."""
    guard: str
    instead: str


def scripts_of(mutation: Mutation | None, *owners: object) -> Iterator[Script]:
    """Yield the scripts of a schedule or a broker, with the mutation applied."""
    found = False
    for script in [value for owner in owners for value in vars(owner).values() if isinstance(value, Script)]:
        if mutation and mutation.script in (script.name, "prelude"):
            found = True
            assert script._text.count(mutation.guard) == 1, f"expected once in the script: {mutation.guard}"
            script._text = script._text.replace(mutation.guard, mutation.instead)
            script.sha = sha1(script._text.encode()).hexdigest()
        yield script
    assert found or not mutation, f"unknown script: {mutation}"


def at_once(coroutine: Any) -> Any:
    """Return the result of a coroutine that never waits; raise what it raises."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        return end.value
    coroutine.close()
    raise AssertionError("it waits")
