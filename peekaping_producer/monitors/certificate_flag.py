"""The flag `check_cert_expiry` of a monitor's config, read as Go's encoding/json reads it into a struct.

The name matches in any case and with any escaping; the last of several members is used, and null changes nothing. The
whole text must be JSON of at most 10,000 levels. The values of other members do not matter: numbers may have any size,
and an escape may encode half a surrogate pair.
"""

import json
import re
from collections.abc import Iterator

import msgspec

_NAME = "check_cert_expiry"
_KEY = _NAME.encode()
_MIDDLE = re.compile("_[cC][eE][rR][tT]_")
_FEW_UNDERSCORES = 100_000
_KELVIN = "\u212a".encode()
"""The Kelvin sign: to Go and Python a k in another case. No other letter of the name has such a variant."""
_ESCAPED = re.compile(rb"\\u(?:00[4-7]|212a)")
"""An escape that may encode a letter of the name or an underscore, in lower-case text."""

_MAX_DEPTH = 10_000
"""Levels of arrays and objects; the limit is Go's."""
_LARGE = 2**20
"""Bytes. A longer text without the name is not parsed: the flag is False, whether or not the rest is JSON."""
_MAX_CHARACTERS, _MAX_VALUES = 2**24, 100_000
"""Limits in characters and values for texts that msgspec cannot decode: about 0.2 s of work."""


class _Config(msgspec.Struct, gc=False):
    check_cert_expiry: bool | None = None


_decode = msgspec.json.Decoder(_Config).decode


def read(config: str) -> bool:
    """Return the flag, False where it is not set.

    Raises ValueError if Go fails to parse the config, or it exceeds the limits above; the message never quotes it.
    """
    if len(config) > _LARGE and "\\" not in config and config.isascii() and config.count("_") <= _FEW_UNDERSCORES:
        # The same as below, without lower-case copies: those of a 50 MB text block the event loop.
        names = _spellings(config)
        if not names:
            return False
        if names == [_NAME]:
            return _read_at_once(config)
    data = config.encode()
    lowered = data.lower()
    spelled = lowered.count(_KEY)
    respelled = (b"\\" in data and _ESCAPED.search(lowered)) or (not config.isascii() and _KELVIN in data)
    if not spelled and not respelled and len(data) > _LARGE:
        return False
    if not respelled and (spelled == 0 or (spelled == 1 and _KEY in data)):
        return _read_at_once(config)
    return _read_carefully(config)


def _spellings(config: str) -> list[str]:
    """Return the occurrences of the name in `config`, in any case; fast if there are few underscores."""
    before, after = len("check"), len("_cert_expiry")
    found = (config[max(match.start() - before, 0) : match.start() + after] for match in _MIDDLE.finditer(config))
    return [each for each in found if each.lower() == _NAME]


def _read_at_once(config: str) -> bool:
    try:
        return _decode(config).check_cert_expiry or False
    except (msgspec.MsgspecError, RecursionError):  # msgspec is stricter than Go, and gives no reason
        return _read_carefully(config)


def _read_carefully(config: str) -> bool:
    if len(config) > _MAX_CHARACTERS:
        raise ValueError(f"expected at most {_MAX_CHARACTERS} characters, got {len(config)}")
    flag = False
    mistaken = False
    for key, value in _members(config):
        if json.loads(key).lower() == _NAME and value != "null":
            mistaken = mistaken or value not in {"true", "false"}
            flag = value == "true"
    if mistaken:
        raise ValueError(f"{_NAME}: expected true or false")
    return flag


_SPACE = r"[ \t\r\n]*+"
_STRING = r'"[^"\\\x00-\x1f]*+(?:\\[^\x00-\x1f][^"\\\x00-\x1f]*+)*+"'
_NUMBER = r"-?(?:0|[1-9][0-9]*+)(?:\.[0-9]++)?(?:[eE][+-]?[0-9]++)?"
_BAD_ESCAPE = re.compile(r'(?<!\\)(?:\\\\)*+\\(?!["\\/bfnrt]|u[0-9a-fA-F]{4})')
_VALUE = re.compile(rf"{_SPACE}({_STRING}|{_NUMBER}|true|false|null|\[|\{{)")
_END = re.compile(rf"{_SPACE}\Z")
# What follows an opening bracket, and what follows a value inside: the end (group 1), or the start of the next value,
# with its key in an object (group 2).
_FIRST = {
    "[": re.compile(rf"{_SPACE}(?:(\])|)()"),
    "{": re.compile(rf"{_SPACE}(?:(\}})|({_STRING}){_SPACE}:)"),
}
_NEXT = {
    "[": re.compile(rf"{_SPACE}(?:(\])|,)()"),
    "{": re.compile(rf"{_SPACE}(?:(\}})|,{_SPACE}({_STRING}){_SPACE}:)"),
}


def _members(document: str) -> Iterator[tuple[str, str]]:
    """Yield the key of each member of an object, and its value (or the opening bracket of that), as written.

    Reads the whole document, without recursion. Raises ValueError if it is not an object; null is one without members.
    """
    position = 0

    def take(pattern: re.Pattern[str]) -> re.Match[str]:
        nonlocal position
        match = pattern.match(document, position)
        if match is None:
            raise ValueError(f"expected JSON, got a syntax error at character {position}")
        position = match.end()
        return match

    if bad := _BAD_ESCAPE.search(document):
        raise ValueError(f"expected JSON, got an unknown escape at character {bad.end() - 1}")
    inside: list[str] = []
    key = ""
    for _ in range(_MAX_VALUES):
        value = take(_VALUE)[1]
        if len(inside) == 1:
            yield key, value
        elif not inside and value not in {"{", "null"}:
            raise ValueError("expected an object")
        following = _NEXT
        if value in _FIRST:
            inside.append(value)
            following = _FIRST
        if len(inside) > _MAX_DEPTH:
            raise ValueError(f"expected at most {_MAX_DEPTH} levels of arrays and objects")
        while inside:
            match = take(following[inside[-1]])
            if match[1] is None:
                key = match[2]
                break
            inside.pop()
            following = _NEXT
        else:
            take(_END)
            return
    raise ValueError(f"expected at most {_MAX_VALUES} values")
