"""What the environment, a `.env` file and the files of secrets say, before anything is checked."""

import codecs
import unicodedata
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

import msgspec

VERBATIM = ("DB_PASS", "REDIS_PASSWORD", "REDIS_SENTINEL_PASSWORD")
"""Passwords: a blank, a line end or a quote around one may belong to it, as where the server got the same text."""

SECRETS = (*VERBATIM, "DATABASE_URL", "REDIS_URL")
"""Each may come from a file: NAME_FILE."""

_AROUND = " \t\r\n\v\f\x85\xa0\u2028\u2029\u200b\u2060\ufeff"
"""Blanks, line ends and marks that nobody sees: editors, shells and Kubernetes secrets leave them around a value."""
_QUOTES = ("'", '"')


class Found(msgspec.Struct, frozen=True):
    """A setting's text and the place it came from: `environment`, `.env` or `file`."""

    text: str
    origin: str


def cleaned(text: str) -> str:
    """`text` without what `_AROUND` lists, and without one pair of quotes, which `docker run --env-file` keeps."""
    text = text.strip(_AROUND)
    return text[1:-1].strip(_AROUND) if is_quoted(text) else text


def is_quoted(text: str) -> bool:
    """Whether one pair of quotes stands around `text`."""
    return len(text) > 1 and text[0] == text[-1] and text[0] in _QUOTES


def has_hidden_characters(text: str) -> bool:
    """Whether `text` holds control or format characters, or bytes that are no text: no terminal shows them."""
    return any(unicodedata.category(each) in {"Cc", "Cf", "Cs", "Zl", "Zp"} for each in text)


def merge(names: Iterable[str], environ: Mapping[str, str], dotenv: Mapping[str, str]) -> dict[str, Found]:
    """The text of every name that is set. The environment wins over `.env`, unless it is empty there."""
    found: dict[str, Found] = {}
    for name in names:
        given = _tidy(name, environ.get(name, ""))
        if given or (name in environ and name not in dotenv):
            found[name] = Found(given, "environment")
        elif name in dotenv:
            found[name] = Found(_tidy(name, dotenv[name]), ".env")
    return found


def _tidy(name: str, text: str) -> str:
    """The text that counts. A password stays as it is, but for two quotes with nothing between them."""
    if name in VERBATIM:
        return "" if is_quoted(text) and len(text) == 2 else text
    return cleaned(text)


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

    A byte order mark, and one newline at the end of a file, are not part of a password.
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
            content = _content(Path(path.text))
        except ValueError as error:
            problems.append(f"{name}_FILE: got {path.text!r}, takes the path of a readable file ({error})")
            continue
        resolved[name] = Found(_tidy(name, content), "file")
    return resolved


def _content(path: Path) -> str:
    """The text of a file of a secret. Raises ValueError with the reason."""
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise ValueError(error.strerror) from None
    if raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise ValueError("UTF-16 text; save it as UTF-8")
    try:
        return raw.decode("utf-8-sig").removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        raise ValueError("not UTF-8 text") from None
