"""What kinds of values settings take, and what is said about each setting."""

import re
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from pydantic import AfterValidator, BeforeValidator, Field

from peekaping_producer.settings.sentinels import sentinel_addresses, sentinel_name

Need = Literal["database", "redis", "producer"]
"""What a command works with; a setting of another group is not even looked at."""


class Setting(msgspec.Struct, frozen=True):
    """What the docs and the error messages say about a setting. `absent` says what its absence means."""

    doc: str
    takes: str
    group: Need | None = None
    absent: str | None = None


def _whole_number(given: object) -> object:
    """Go's rule for a decimal number: digits with an optional sign, and nothing else."""
    if isinstance(given, str):
        if not re.fullmatch(r"[+-]?[0-9]{1,19}", given):
            raise ValueError
        return int(given)
    return given


def _decimal(given: object) -> object:
    if isinstance(given, str) and not re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", given):
        raise ValueError
    return given


def _host(given: str) -> str:
    if "@" in given or "://" in given:
        raise ValueError
    return given


def _file(given: str) -> str:
    try:
        with Path(given).open("rb"):
            return given
    except OSError:
        raise ValueError from None


def _address(given: str) -> str:
    listening_address(given)
    return given


def listening_address(text: str) -> tuple[str, int] | None:
    """(host, port) of a METRICS_ADDR, None for "off" and for nothing. Raises ValueError for anything else."""
    if text in {"", "off"}:
        return None
    match = re.fullmatch(r"(?:\[(?P<v6>[0-9a-fA-F:.]+(?:%\w+)?)\]|(?P<host>[\w.-]+)):(?P<port>[0-9]{1,5})", text)
    if match is None or int(match["port"]) > 65535:
        raise ValueError
    return match["v6"] or match["host"], int(match["port"])


def _sentinels(given: str) -> str:
    sentinel_addresses(given)
    return given


Lower = BeforeValidator(lambda given: given.lower() if isinstance(given, str) else given)
Whole = BeforeValidator(_whole_number)
Decimal = BeforeValidator(_decimal)

Host = Annotated[str, AfterValidator(_host)]
Port = Annotated[int, Whole, Field(ge=1, le=65535)]
ReadableFile = Annotated[str, AfterValidator(_file)]
Address = Annotated[str, AfterValidator(_address)]
SentinelAddresses = Annotated[str, AfterValidator(_sentinels)]
SentinelName = Annotated[str, AfterValidator(sentinel_name)]
Level = Literal["debug", "info", "warn", "warning", "error", "dpanic", "panic", "fatal"]
DbType = Literal["postgres", "postgresql", "mysql", "sqlite", "mongo", "mongodb"]
