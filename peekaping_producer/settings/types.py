"""The types of the settings' values, and the description that each setting has for docs and error messages."""

import codecs
import re
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

import msgspec
from pydantic import AfterValidator, BaseModel, BeforeValidator, Field, SecretStr

from peekaping_producer.settings.addresses import HostPort, host, host_and_port
from peekaping_producer.settings.sentinels import sentinel_addresses, sentinel_name
from peekaping_producer.targets import host_port_text, shown_url

_NUMBER = r"[0-9]{1,9}(?:\.[0-9]{0,9})?"
_UNITS = {"h": 3600, "ms": 1e-3, "m": 60, "s": 1, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ns": 1e-9}
"""The seconds of each of Go's units; `ms` comes before `m`, since the pattern accepts the first that fits."""


class WebUrl(SecretStr):
    """An http:// or https:// URL. Its text is that of `shown_url`, without secrets."""

    def _display(self) -> str:
        return shown_url(self.get_secret_value())


def secret_text(secret: SecretStr | None) -> str | None:
    """The secret itself; None if it is not set."""
    return secret.get_secret_value() if secret else None


class Group(BaseModel, defer_build=True):
    """The settings of one system.

    Only the class that combines all groups is used for validation: building validators takes time.
    """


class Setting(msgspec.Struct, frozen=True):
    """The description of a setting: its meaning, the values that it accepts, and the meaning of its absence."""

    doc: str
    expected: str
    absent: str | None = None


def _whole_number(given: object) -> object:
    """Go's rule for a decimal number: digits with an optional sign, and nothing else."""
    if isinstance(given, str):
        if not re.fullmatch(r"[+-]?[0-9]{1,19}", given):
            linked = "://" in given
            raise ValueError("Kubernetes set it for a Service; set enableServiceLinks: false" if linked else "")
        return int(given)
    return given


def _seconds(given: object) -> object:
    """Seconds as a number, or a duration as Go writes it: 10, 0.5, 500ms, 10s, 1m30s."""
    if not isinstance(given, str):
        return given
    if re.fullmatch(_NUMBER, given):
        return float(given)
    if not re.fullmatch(rf"({_NUMBER}({'|'.join(_UNITS)}))+", given):
        raise ValueError("as in 500ms, 10s or 1m30s" if given[:1].isdecimal() else "")
    return sum(float(number) * _UNITS[unit] for number, unit in re.findall(rf"({_NUMBER})([a-zµμ]+)", given))


def _database_host(given: str) -> str:
    """One host; for Postgres also a directory of Unix sockets.

    For MongoDB also several, `host:port,host:port,host`: DB_PORT is the last one's, 27017 the others' default.
    """
    if given.startswith("/"):
        return given
    *seeds, last = given.split(",")
    if not seeds:
        return host(last)
    return ",".join(
        [*(host_port_text(*host_and_port(seed.strip())) for seed in seeds), host_port_text(host(last.strip()))]
    )


def file_bytes(path: str, size: int = -1) -> bytes:
    """The first `size` bytes of a file, or all. Raises ValueError with the reason if it cannot be read."""
    try:
        with Path(path).open("rb") as file:
            return file.read(size)
    except OSError as error:
        raise ValueError(error.strerror) from None


def readable_file(given: str) -> str:
    """Return `given`, the path of a readable file. Raises ValueError with the reason."""
    if file_bytes(given, 3).startswith((codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise ValueError("begins with a byte order mark; save it without one")
    return given


def _address(given: str) -> str:
    listening_address(given)
    return given


def listening_address(text: str) -> HostPort | None:
    """(host, port) of METRICS_ADDR or UI_ADDR; None for "off" and an empty one. Raises ValueError for anything else.

    Without a host, as in `:9464`, it is all interfaces, and the host is "".
    """
    if text.lower() in {"", "off"}:
        return None
    everywhere = re.fullmatch(r"\*?(:[0-9]+)", text, re.ASCII)
    name, port = host_and_port(f"localhost{everywhere[1]}" if everywhere else text, port_required=True)
    return "" if everywhere else name, port or 0


def _sentinels(given: str) -> str:
    sentinel_addresses(given)
    return given


def _queue_name(given: str) -> str:
    """Raise ValueError for a name that RabbitMQ reserves, or that has no room for the suffixes of other queues."""
    if given.startswith("amq.") or len(given.encode()) > MAX_QUEUE_BYTES:
        raise ValueError
    return given


def _web_url(given: WebUrl) -> WebUrl:
    """Raise ValueError for another scheme, or a host or port that no server can have."""
    try:
        parts = urlsplit(given.get_secret_value())
        name, port = parts.hostname, parts.port
    except ValueError:  # its text contains a part of the URL
        raise ValueError from None
    if parts.scheme not in {"http", "https"} or not name or port == 0:
        raise ValueError
    host(name)
    return given


def _retention(given: str) -> str:
    if given != "off" and not (re.fullmatch("[0-9]{1,4}", given, re.ASCII) and 1 <= int(given) <= 3650):
        raise ValueError
    return given


MAX_QUEUE_BYTES = 240
QUEUE_NAME_FORM = f"a name of 1 to {MAX_QUEUE_BYTES} bytes that does not begin with amq."
TEXT_FORM = "any text"
BOOL_FORM = "true or false"
HOST_FORM = "a host name or address"
PORT_FORM = "a port (1-65535)"
WEB_URL_FORM = "an http:// or https:// URL"
DURATION_FORM = "0.1 to 3600 seconds"

Lower = BeforeValidator(lambda given: given.lower() if isinstance(given, str) else given)
Whole = BeforeValidator(_whole_number)
Seconds = BeforeValidator(_seconds)
Duration = Annotated[float, Seconds, Field(ge=0.1, le=3600)]

Host = Annotated[str, AfterValidator(host)]
DatabaseHost = Annotated[str, AfterValidator(_database_host)]
Port = Annotated[int, Whole, Field(ge=1, le=65535)]
ReadableFile = Annotated[str, AfterValidator(readable_file)]
Address = Annotated[str, AfterValidator(_address)]
QueueName = Annotated[str, AfterValidator(_queue_name)]
HttpUrl = Annotated[WebUrl, AfterValidator(_web_url)]
Retention = Annotated[str, AfterValidator(_retention)]
SentinelAddresses = Annotated[str, AfterValidator(_sentinels)]
SentinelName = Annotated[str, AfterValidator(sentinel_name)]
Level = Literal["debug", "info", "warn", "warning", "error", "dpanic", "panic", "fatal"]
DbType = Literal["postgres", "postgresql", "mysql", "sqlite", "mongo", "mongodb"]
