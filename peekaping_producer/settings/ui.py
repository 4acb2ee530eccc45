"""The settings of the page: its address, and who may see and act."""

import ipaddress
import re
from collections.abc import Callable
from typing import Annotated, Literal

from pydantic import AfterValidator, SecretStr

from peekaping_producer.settings.addresses import host
from peekaping_producer.settings.types import Address, Group, Lower, Setting

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_MIN_TOKEN_LENGTH = 8
_TOKEN_FORM = f"{_MIN_TOKEN_LENGTH} or more characters"
_RESERVED_HEADERS = frozenset({"authorization", "connection", "content-length", "content-type", "cookie", "host"})


def items(text: str) -> list[str]:
    """The items of a list that commas separate."""
    return [item for part in text.split(",") if (item := part.strip())]


def network(text: str) -> Network:
    """An address, or a range of addresses in CIDR notation. Raises ValueError."""
    try:
        inexact = ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise ValueError from None
    try:
        return ipaddress.ip_network(text)
    except ValueError:
        raise ValueError(f"write {inexact}") from None


def has_every_address(networks: str) -> bool:
    """Whether one of the `networks`, which are valid, contains every address."""
    return any(network(item).prefixlen == 0 for item in items(networks))


def _of_items(check: Callable[[str], object]) -> AfterValidator:
    def checked(given: str) -> str:
        for item in items(given):
            check(item)
        return given

    return AfterValidator(checked)


def _token(given: SecretStr) -> SecretStr:
    if len(given.get_secret_value()) < _MIN_TOKEN_LENGTH:
        raise ValueError("create one with: openssl rand -hex 24")
    return given


def _header(given: str) -> str:
    if not re.fullmatch("[A-Za-z][A-Za-z0-9-]{0,63}", given):
        raise ValueError
    if given.lower() in _RESERVED_HEADERS:
        raise ValueError("this header has another meaning")
    return given


_Token = Annotated[SecretStr, AfterValidator(_token)]


class Ui(Group):
    """The page: its address, and who may see and act."""

    ui_addr: Annotated[
        Address,
        Setting(
            "The address of the page that shows the fleet. One that other hosts reach requires UI_TOKEN, "
            "UI_READ_TOKEN, UI_PROXY_USER_HEADER or UI_ANONYMOUS=read.",
            "host:port, [IPv6]:port, or off (also when empty)",
        ),
    ] = "127.0.0.1:9465"
    ui_token: Annotated[
        _Token | None,
        Setting("The token with which users see the page and act.", _TOKEN_FORM, "none; the page is read-only"),
    ] = None
    ui_read_token: Annotated[
        _Token | None, Setting("The token with which users see the page.", _TOKEN_FORM, "none")
    ] = None
    ui_anonymous: Annotated[
        Literal["off", "read"], Lower, Setting("read: the page can be seen without a token.", "off | read")
    ] = "off"
    ui_hosts: Annotated[
        str,
        _of_items(host),
        Setting(
            "The host names at which browsers open the page, besides localhost; requests with others are refused.",
            "host names without ports, separated by commas",
            "any; only localhost where a loopback address requires no token",
        ),
    ] = ""
    ui_proxy_from: Annotated[
        str,
        _of_items(network),
        Setting(
            "The addresses of reverse proxies, whose X-Forwarded-For, X-Forwarded-Proto and UI_PROXY_USER_HEADER are "
            "accepted.",
            "addresses or ranges such as 10.0.0.0/8, separated by commas",
            "none",
        ),
    ] = ""
    ui_proxy_user_header: Annotated[
        Annotated[str, AfterValidator(_header)] | None,
        Setting(
            "The header in which a proxy of UI_PROXY_FROM sends the user that it has authenticated, who may see the "
            "page.",
            "the name of a header, such as X-Forwarded-User",
            "none",
        ),
    ] = None
    ui_act_users: Annotated[
        str, Setting("The users of UI_PROXY_USER_HEADER who may act.", "names separated by commas, or *", "none")
    ] = ""
