"""Redis Sentinel in the settings: addresses, names, and what the parts of REDIS_SENTINEL* add up to."""

import re

import msgspec

from peekaping_producer.settings.addresses import HostPort, host_port
from peekaping_producer.targets import Sentinels

MASTER_FORM = "the name of a master: letters, digits and . _ -"
_DEFAULT_PORT = 26379


def sentinel_addresses(text: str) -> tuple[HostPort, ...]:
    """(host, port) of each of `host:port,[IPv6]:port`; the port may be left out. Raises ValueError."""
    found = tuple(host_port(each.strip(), _DEFAULT_PORT) for each in text.split(","))
    if any(port == 0 for _, port in found):
        raise ValueError
    return found


def sentinel_name(text: str) -> str:
    """A master's name, of the characters that sentinel.conf allows. Raises ValueError."""
    if not re.fullmatch(r"[A-Za-z0-9._-]+", text):
        raise ValueError
    return text


def from_parts(addresses: str | None, master: str | None, problems: list[str]) -> Sentinels | None:
    """REDIS_SENTINELS and REDIS_SENTINEL_MASTER, which make sense together only."""
    if addresses and master:
        return Sentinels(addresses=sentinel_addresses(addresses), master=master)
    if addresses:
        problems.append(f"REDIS_SENTINEL_MASTER: is not set, takes {MASTER_FORM} (REDIS_SENTINELS is set)")
    if master:
        problems.append("REDIS_SENTINEL_MASTER: is set alone, takes REDIS_SENTINELS beside it")
    return None


def with_password(sentinels: Sentinels | None, password: str | None, problems: list[str]) -> Sentinels | None:
    """REDIS_SENTINEL_PASSWORD put in its place, which must be there."""
    if password and sentinels:
        return msgspec.structs.replace(sentinels, password=password)
    if password:
        problems.append("REDIS_SENTINEL_PASSWORD: is set without sentinels, takes REDIS_SENTINELS or a URL with them")
    return sentinels
