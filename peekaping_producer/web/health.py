"""The state of a process, as its probes report it."""

from collections.abc import Mapping
from typing import Protocol


class Health(Protocol):
    """Every method answers from memory: a probe must not wait for Redis or the database."""

    def stalled(self) -> list[str]:
        """Return the loops that do not advance; empty: alive."""

    def unready(self) -> dict[str, str]:
        """Return why this process cannot work now: reasons by condition; empty: ready."""

    def verdict(self) -> Mapping[str, str] | None:
        """Return `code` and `sentence` of the verdict on the whole fleet; None if the process is not part of one."""

    def notes(self) -> list[str]:
        """Return problems that do not stop the work."""
