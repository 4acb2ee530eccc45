"""Who may see the page, and who may act: what the settings of the page mean together."""

import msgspec

from peekaping_producer.settings.addresses import host, is_loopback
from peekaping_producer.settings.fields import Fields
from peekaping_producer.settings.types import listening_address, secret_text
from peekaping_producer.settings.ui import Network, items, network


class UiAccess(msgspec.Struct, frozen=True, kw_only=True):
    """Who may see the page, and who may act."""

    token: str | None = None
    """Permits to act."""
    read_token: str | None = None
    """Permits to see."""
    is_public: bool = False
    """Whether a request without credentials may see."""
    hosts: frozenset[str] | None = None
    """The names, in lower case, that Host may contain; None: any."""
    proxies: tuple[Network, ...] = ()
    """Their X-Forwarded headers and `user_header` are accepted."""
    user_header: str | None = None
    """The header with the user whom a proxy has authenticated."""
    act_users: frozenset[str] = frozenset()
    """Those users who may act; * for all."""


_LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})


def ui_access(settings: Fields, problems: list[str]) -> UiAccess:
    """Who may see and act at the address of the page. Adds contradictions to `problems`."""
    token, read_token = secret_text(settings.ui_token), secret_text(settings.ui_read_token)
    address = listening_address(settings.ui_addr)
    is_local = address is not None and is_loopback(address[0])
    is_authenticated = bool(token or read_token or settings.ui_proxy_user_header)
    if address and not (is_local or is_authenticated or settings.ui_anonymous == "read"):
        problems.append(
            f"UI_ADDR: expected a loopback address, or authentication, got {settings.ui_addr!r} without it; set "
            "UI_TOKEN or UI_READ_TOKEN, or UI_ANONYMOUS=read if every client that reaches the address may see"
        )
    if token and token == read_token:
        problems.append("UI_READ_TOKEN: expected another token than UI_TOKEN, got the same; create a second one")
    if settings.ui_proxy_user_header and not settings.ui_proxy_from:
        problems.append("UI_PROXY_USER_HEADER: requires UI_PROXY_FROM; set it to the addresses of the proxy")
    if settings.ui_act_users and not settings.ui_proxy_user_header:
        problems.append("UI_ACT_USERS: requires UI_PROXY_USER_HEADER; set it to the header that contains the user")
    is_public = settings.ui_anonymous == "read" or not is_authenticated
    hosts = frozenset(host(name).lower() for name in items(settings.ui_hosts))
    # Without credentials, another web site could read the page if its own name led to this address (DNS rebinding).
    return UiAccess(
        token=token,
        read_token=read_token,
        is_public=is_public,
        hosts=hosts | _LOOPBACK_NAMES if hosts or (is_local and is_public) else None,
        proxies=tuple(map(network, items(settings.ui_proxy_from))),
        user_header=settings.ui_proxy_user_header,
        act_users=frozenset(items(settings.ui_act_users)),
    )
