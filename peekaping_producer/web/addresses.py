"""Addresses of clients."""

import ipaddress
import re
from functools import lru_cache

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address


def parse_address(text: str) -> IpAddress | None:
    """Return the address in `text`, which may have a port; IPv4 in IPv6 as IPv4. None if it is not an address."""
    if match := re.fullmatch(r"\[([^\]]*)\](?::[0-9]+)?|([0-9.]+):[0-9]+", text):
        text = match[1] or match[2] or ""
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return address.ipv4_mapped or address if isinstance(address, ipaddress.IPv6Address) else address


@lru_cache(4096)
def network_of(text: str) -> str:
    """Return the network that one client has to itself: an IPv6 client may use every address of its /64."""
    address = parse_address(text)
    if isinstance(address, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((address, 64), strict=False))
    return str(address or text)
