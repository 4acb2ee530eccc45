"""The parts of the command line's parser: commands with their settings, and the types of options."""

import argparse
import math
import re
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any, NoReturn

from peekaping_producer.service.text import escaped
from peekaping_producer.settings import SettingsGroup
from peekaping_producer.settings.groups import command_names
from peekaping_producer.settings.table import as_help
from peekaping_producer.settings.texts import FROM_FILES
from peekaping_producer.settings.types import file_bytes

_USAGE_ERRORS = (
    (r"argument (.+?): invalid choice: (.+) \(choose from (.+)\)", r"\1: expected \3, got \2"),
    (r"argument (.+?): expected one argument", r"\1: expected a value, got none"),
    (r"argument (.+?): ignored explicit argument (.+)", r"\1: expected no value, got \2"),
    (r"argument (.+?): not allowed with argument (.+)", r"\1: expected without \2, got both"),
    (r"argument (.+?): (expected .+)", r"\1: \2"),
    (r"the following arguments are required: (.+)", r"\1: expected a value, got none"),
    (r"one of the arguments (.+) is required", r"arguments: expected one of \1, got none"),
    (r"ambiguous option: (.+) could match (.+)", r"option: expected one of \2, got '\1'"),
)
"""Messages of argparse, and what replaces them; any other message is printed as it is."""


class Parser(argparse.ArgumentParser):
    """Reports a usage error in one line, `NAME: expected WHAT, got VALUE`, and exits with code 2."""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As in argparse; exits if an argument is left over, so that the message names the right command's help."""
        known, left_over = super().parse_known_args(args, namespace)
        if left_over:
            name = left_over[0].partition("=")[0]  # the value, and the next arguments, may be secret
            self.error(f"argument: expected one that `{self.prog}` accepts, got {name!r}")
        return known, left_over

    def error(self, message: str) -> NoReturn:
        """Print the error and exit."""
        for pattern, form in _USAGE_ERRORS:
            if found := re.fullmatch(pattern, message, re.DOTALL):
                message = found.expand(form)
                break
        self.exit(2, f"{self.prog.partition(' ')[0]}: {escaped(message)}; see {self.prog} --help\n")


class Commands:
    """The commands of a parser."""

    def __init__(self, parser: Parser, file_completion: object) -> None:
        self._commands = parser.add_subparsers(title="commands", metavar="COMMAND")
        self._file_completion = file_completion

    def add(
        self,
        name: str,
        call: Callable[[argparse.Namespace], int],
        text: str,
        *,
        example: str,
        groups: Collection[SettingsGroup] | None = None,
        names: Sequence[str] = (),
        options: bool = False,
    ) -> Parser:
        """Add a command: what it calls, its help, an example, and the settings that it reads, as groups or by name.

        With `options`, each of its settings that is not secret is also an option.
        """
        names = names if groups is None else command_names(groups)
        settings = as_help(names, options=options)
        added = self._commands.add_parser(
            name,
            help=text,
            description=f"{text[0].upper()}{text[1:]}.",
            epilog=f"{settings}example:\n  {example}\n",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        added.set_defaults(command=call, settings={})
        for setting in (name for name in names if options and name not in FROM_FILES):
            added.add_argument(_option(setting), action=_StoreSetting, dest=setting, help=argparse.SUPPRESS)
        add_env_file(added, "env_files_after", self._file_completion)
        return added


class _StoreSetting(argparse.Action):
    """Adds the value to `settings` of the namespace, by the name of the setting."""

    def __call__(self, _parser: Any, namespace: argparse.Namespace, value: Any, _option: str | None = None) -> None:
        namespace.settings = {**namespace.settings, self.dest: value}


def _option(setting: str) -> str:
    return f"--{setting.lower().replace('_', '-')}"


def add_env_file(parser: argparse.ArgumentParser, dest: str, file_completion: object) -> None:
    """Add --env-file. A command's values replace those of the main parser if both have the same `dest`."""
    option = parser.add_argument(
        "--env-file",
        action="append",
        default=[],
        dest=dest,
        type=readable_file,
        metavar="FILE",
        help="read settings from this file instead of .env; may be repeated: later files override earlier ones, "
        "and the environment overrides all files",
    )
    if file_completion:
        option.complete = file_completion  # type: ignore[attr-defined]


def seconds(text: str) -> float:
    """A positive duration. Raises ArgumentTypeError."""
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"expected a positive number of seconds, got {text!r}")
    return number


def duration(longest: str) -> Callable[[str], int]:
    """Return the type of a duration in whole seconds, such as 90s, 10m, 1h or 2d, from 1s to `longest`."""

    def parse(text: str) -> int:
        """Return the seconds. Raises ArgumentTypeError."""
        found = _seconds_of(text)
        if found is None:
            wanted = f"expected a duration such as 90s, 10m or 1h, at most {longest}"
        elif not 1 <= found <= (_seconds_of(longest) or 0):
            wanted = f"expected 1s to {longest}"
        else:
            return found
        raise argparse.ArgumentTypeError(f"{wanted}, got {text!r}")

    return parse


def text_of(longest: int, *, may_be_empty: bool = False) -> Callable[[str], str]:
    """Return the type of a text of at most `longest` characters."""

    def parse(text: str) -> str:
        """Return the text. Raises ArgumentTypeError."""
        if not (text.strip() or may_be_empty):
            raise argparse.ArgumentTypeError(f"expected a text, got {text!r}")
        if len(text) > longest:
            raise argparse.ArgumentTypeError(f"expected at most {longest} characters, got {len(text)}")
        return text

    return parse


def _seconds_of(text: str) -> int | None:
    found = re.fullmatch(r"([0-9]{1,9})([smhd])", text, re.ASCII)
    return int(found[1]) * {"s": 1, "m": 60, "h": 3600, "d": 86_400}[found[2]] if found else None


def whole_number(text: str) -> int:
    """A number of things, 1 to 1,000,000. Raises ArgumentTypeError."""
    if not re.fullmatch("[0-9]{1,7}", text, re.ASCII) or not 1 <= int(text) <= 1_000_000:
        raise argparse.ArgumentTypeError(f"expected a whole number from 1 to 1000000, got {text!r}")
    return int(text)


def readable_file(text: str) -> Path:
    """The path of a file that can be opened. Raises ArgumentTypeError."""
    try:
        file_bytes(text, 0)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"expected a readable file, got {text!r} ({error})") from None
    return Path(text)
