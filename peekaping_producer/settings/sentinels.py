"""Redis Sentinel in the settings: addresses, master names, and the target that REDIS_SENTINEL* describe."""

import re

import msgspec

from peekaping_producer.settings.addresses import HostPort, host_port
from peekaping_producer.targets import Sentinels

MASTER_FORM = "the name of a master (letters, digits and . _ -)"
_DEFAULT_PORT = 26379


def sentinel_addresses(text: str) -> tuple[HostPort, ...]:
    """(host, port) of each of `host:port,[IPv6]:port`; the port is optional. Raises ValueError."""
    found = tuple(host_port(address.strip(), _DEFAULT_PORT) for address in text.split(","))
    if any(port == 0 for _, port in found):
        raise ValueError
    return found


def sentinel_name(text: str) -> str:
    """Return `text`, a master's name with characters that sentinel.conf allows. Raises ValueError."""
    if not re.fullmatch(r"[A-Za-z0-9._-]+", text):
        raise ValueError
    return text


def from_parts(addresses: str | None, master: str | None, problems: list[str]) -> Sentinels | None:
    """The sentinels that REDIS_SENTINELS and REDIS_SENTINEL_MASTER describe; each requires the other."""
    if addresses and master:
        return Sentinels(addresses=sentinel_addresses(addresses), master=master)
    if addresses:
        problems.append(f"REDIS_SENTINEL_MASTER: expected {MASTER_FORM}, got nothing; REDIS_SENTINELS requires it")
    if master:
        problems.append("REDIS_SENTINEL_MASTER: requires REDIS_SENTINELS")
    return None


def with_password(sentinels: Sentinels | None, password: str | None, problems: list[str]) -> Sentinels | None:
    """`sentinels` with REDIS_SENTINEL_PASSWORD, which requires sentinels."""
    if password and sentinels:
        return msgspec.structs.replace(sentinels, password=password)
    if password:
        problems.append("REDIS_SENTINEL_PASSWORD: requires REDIS_SENTINELS, or sentinels in REDIS_URL")
    return sentinels
