"""One producer replica as a real process."""

from collections.abc import Mapping
from pathlib import Path

from peekaping_producer.demo.command import PROGRAM, Command

RUN = (*PROGRAM, "run")


class Replica(Command):
    """`peekaping-producer run`."""

    def __init__(self, name: str, directory: Path, settings: Mapping[str, str]) -> None:
        super().__init__(name, directory, RUN, settings)

    def leads(self, term: str | None) -> bool:
        """Return whether `term` (hostname-pid-random/random, the value of the leader key) is that of this process."""
        parts = (term or "").partition("/")[0].rsplit("-", 2)
        return len(parts) == 3 and self.pid is not None and parts[1] == str(self.pid)
