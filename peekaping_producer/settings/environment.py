"""What the environment, a `.env` file and the files of secrets say, before anything is checked."""

from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

import msgspec


class Found(msgspec.Struct, frozen=True):
    """A setting's text and the place it came from: `environment`, `.env` or `file`."""

    text: str
    origin: str


def merge(names: Iterable[str], environ: Mapping[str, str], dotenv: Mapping[str, str]) -> dict[str, Found]:
    """The text of every name that is set. The environment wins over `.env`, unless it is empty there."""
    found: dict[str, Found] = {}
    for name in names:
        if environ.get(name) or (name in environ and name not in dotenv):
            found[name] = Found(environ[name], "environment")
        elif name in dotenv:
            found[name] = Found(dotenv[name], ".env")
    return found


def read_dotenv(path: Path) -> dict[str, str]:
    """The names and values of a `.env` file; none where there is no such file.

    The rules are those of Peekaping's Go services, so that one file serves both: one NAME=value a line, blanks around
    both dropped, then every quote at the value's ends; the last line of a name counts. There are no inline comments,
    no `export` and no ${substitution}: a password may hold # and $. Raises OSError and UnicodeDecodeError.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        return {}
    values: dict[str, str] = {}
    for line in text.split("\n"):
        name, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            values[name.strip()] = value.strip().strip("\"'")
    return values


def resolve_files(found: Mapping[str, Found], secrets: Collection[str], problems: list[str]) -> dict[str, Found]:
    """Put the content of each NAME_FILE in NAME's place. What cannot be read, and what is set twice, is a problem.

    One newline at the end of a file is not part of its secret.
    """
    files = {f"{name}_FILE" for name in secrets}
    resolved = {name: each for name, each in found.items() if name not in files}
    for name in secrets:
        path = found.get(f"{name}_FILE")
        if path is None or not path.text:
            continue
        if name in found and found[name].text:
            problems.append(f"{name}: got both {name} and {name}_FILE, takes one of them")
            continue
        try:
            content = Path(path.text).read_text(encoding="utf-8")
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
            problems.append(f"{name}_FILE: got {path.text!r}, takes the path of a readable file ({reason})")
            continue
        resolved[name] = Found(content.removesuffix("\n").removesuffix("\r"), "file")
    return resolved
