"""The messages that processes exchange."""

from dataclasses import dataclass

from peekaping_producer import processes


@dataclass(frozen=True)
class MessageCommand(processes.MessageCommand):
    """A command with its arguments; `from_json` and `to_json` convert it. Add methods here, but no fields."""
