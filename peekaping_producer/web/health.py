"""What the probes ask of a process."""

from typing import Protocol


class Health(Protocol):
    """Answers from memory: a probe must not wait for Redis or the database."""

    def stalled(self) -> list[str]:
        """The loops that do not advance; empty means alive."""

    def unready(self) -> dict[str, str]:
        """Why no work should be expected now: reasons by condition; empty means ready."""

    def notes(self) -> list[str]:
        """What is wrong although work goes on."""
