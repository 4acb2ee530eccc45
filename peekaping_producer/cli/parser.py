"""The parts of the command line's parser: commands with their settings, and the types of options."""

import argparse
import math
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from peekaping_producer.settings import SettingsGroup
from peekaping_producer.settings.fields import command_names
from peekaping_producer.settings.table import as_help


class Commands:
    """The commands of a parser."""

    def __init__(self, parser: argparse.ArgumentParser) -> None:
        self._commands = parser.add_subparsers(metavar="COMMAND")

    def add(
        self,
        name: str,
        call: Callable[[argparse.Namespace], int],
        text: str,
        *,
        example: str,
        groups: Collection[SettingsGroup] | None = None,
        names: Sequence[str] = (),
    ) -> argparse.ArgumentParser:
        """Add a command: what it calls, its help, an example, and the settings that it reads, as groups or by name."""
        settings = as_help(names if groups is None else command_names(groups))
        added = self._commands.add_parser(
            name,
            help=text,
            description=f"{text[0].upper()}{text[1:]}.",
            epilog=f"{settings}example:\n  {example}\n",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        added.set_defaults(command=call)
        return added


def seconds(text: str) -> float:
    """A positive duration. Raises ArgumentTypeError."""
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"expected a positive number of seconds, got {text!r}")
    return number


def readable_file(text: str) -> Path:
    """The path of a file that can be opened. Raises ArgumentTypeError."""
    try:
        Path(text).open("rb").close()
    except OSError as error:
        raise argparse.ArgumentTypeError(f"expected a readable file, got {text!r} ({error.strerror})") from None
    return Path(text)
