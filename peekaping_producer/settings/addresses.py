"""Hosts and host:port pairs in settings and URLs. An IPv6 address may be in brackets or not.

Every function raises ValueError, with a reason if there is more to report than the setting's description contains.
"""

import ipaddress
import re

HostPort = tuple[str, int]


def host(text: str) -> str:
    """The host name or IP address in `text`, without brackets."""
    bracketed = text.startswith("[") and text.endswith("]")
    bare = text[1:-1] if bracketed else text
    if _is_ipv6(bare):
        return bare
    if bracketed:
        raise ValueError("only an IPv6 address may be in brackets")
    if "://" in text:
        raise ValueError("a URL is a setting of its own")
    if re.fullmatch(r"[\w.:-]+:[0-9]+|\[.*\]:[0-9]+", text):
        raise ValueError("the port is a setting of its own")
    if not re.fullmatch(r"[\w.-]+", text):
        raise ValueError
    try:
        text.encode("idna")  # as the resolver does, which refuses an empty or an overlong label
    except UnicodeError:
        raise ValueError("a label between dots is empty, or longer than 63 characters") from None
    return text


def host_port(text: str, default_port: int) -> HostPort:
    """The (host, port) in `text`; the port is optional.

    An IPv6 address without brackets may be followed by a port. Raises ValueError if its last digits can be either.
    """
    name, port = host_and_port(text)
    return name, default_port if port is None else port


def host_and_port(text: str, *, port_required: bool = False) -> tuple[str, int | None]:
    """As `host_port`, but the port is None if it is absent. A required one is what follows the last colon."""
    name, port = _split_port(text, port_required=port_required)
    if not port and not port_required:
        return host(name), None
    if not re.fullmatch("[0-9]{1,5}", port, re.ASCII) or int(port) > 65535:
        raise ValueError
    return host(name), int(port)


def hidden_port(text: str) -> str | None:
    """The last four digits of an IPv6 address without brackets, if they may be a port; otherwise None."""
    before, _, after = text.rpartition(":")
    may_be_port = _is_ipv6(text) and _is_ipv6(before) and re.fullmatch("[0-9]{4}", after, re.ASCII)
    return after if may_be_port else None


def is_loopback(name: str) -> bool:
    """Whether only this host reaches the address `name`."""
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name == "localhost"


def _split_port(text: str, *, port_required: bool) -> tuple[str, str]:
    """The text before the port, and the port or an empty text."""
    before, colon, after = text.rpartition(":")
    if not colon or text.endswith("]"):
        return text, ""
    if ":" not in before or before.endswith("]") or not _is_ipv6(before):
        return (text, "") if _is_ipv6(text) else (before, after)
    if port_required or not _is_ipv6(text):
        return before, after
    if hidden_port(text):
        raise ValueError(f"write [address]:{after} if {after} is the port, otherwise [address]")
    return text, ""


def _is_ipv6(text: str) -> bool:
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return True
