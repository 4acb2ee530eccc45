"""The messages that processes exchange, as JSON."""

import json
from dataclasses import dataclass
from typing import Any, Self

from peekaping_producer.errors import MessageCommandError
from peekaping_producer.service.text import one_line

_FIELDS = ("command", "arguments")
_MAX_SHOWN = 100


@dataclass(frozen=True)
class MessageCommand:
    """A command with its arguments. `from_json` and `to_json` return equal texts if json.dumps made the first one."""

    command: str
    arguments: list[Any]

    def __post_init__(self) -> None:
        if not isinstance(self.command, str):
            raise MessageCommandError(f"command: expected a text, got {_shown(self.command)}")
        if not isinstance(self.arguments, list):
            raise MessageCommandError(f"arguments: expected a list, got {_shown(self.arguments)}")

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Parse a JSON object with exactly the two fields. Raises MessageCommandError, which names what is wrong."""
        try:
            message = json.loads(text)
        except TypeError:
            raise MessageCommandError(f"message: expected JSON as text, got {_shown(text)}") from None
        except (ValueError, RecursionError) as error:
            reason = "too deeply nested" if isinstance(error, RecursionError) else error
            raise MessageCommandError(f"message: expected JSON ({reason}), got {_shown(text)}") from None
        if not isinstance(message, dict):
            raise MessageCommandError(f"message: expected a JSON object, got {_shown(message)}")
        if missing := [name for name in _FIELDS if name not in message]:
            raise MessageCommandError(f"message: expected a field {' and a field '.join(missing)}, got {_shown(text)}")
        if extra := [name for name in message if name not in _FIELDS]:
            names = ", ".join(map(repr, extra))[:_MAX_SHOWN]
            raise MessageCommandError(f"message: expected no fields but command and arguments, got {names}")
        return cls(message["command"], message["arguments"])

    def to_json(self) -> str:
        """The text that json.dumps returns. Raises MessageCommandError for arguments that JSON cannot express."""
        try:
            return json.dumps({"command": self.command, "arguments": self.arguments})
        except (TypeError, ValueError, RecursionError) as error:
            raise MessageCommandError(f"arguments: expected values that JSON can express ({error})") from None


def _shown(value: object) -> str:
    return one_line(repr(value), _MAX_SHOWN)
