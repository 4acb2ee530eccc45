"""The client of a request: its address, its user and whether it used https, as trusted proxies report it."""

from http import HTTPStatus

import msgspec
from aiohttp import web

from peekaping_producer.settings import UiAccess
from peekaping_producer.web.addresses import IpAddress, parse_address
from peekaping_producer.web.refusals import RequestError

MAX_USER_LENGTH = 100
_MAX_PROXIES = 10
"""Addresses in X-Forwarded-For that are read, from the last one on."""


class Client(msgspec.Struct, frozen=True):
    """The client of a request."""

    address: str
    user: str | None
    is_https: bool


class Clients:
    """Finds the client of each request."""

    def __init__(self, access: UiAccess) -> None:
        self._access = access

    def of(self, request: web.BaseRequest) -> Client:
        """Return the client. Raises RequestError if a proxy sends a user that is not one name."""
        peer = parse_address(request.remote or "")
        if peer is None or not self._is_proxy(peer):
            return Client(request.remote or "", None, request.secure)
        forwarded = request.headers.getall("X-Forwarded-For", [])
        # The last value is that of the nearest proxy; its client may have sent those before.
        protocol = ",".join(request.headers.getall("X-Forwarded-Proto", [])).rpartition(",")[2].strip().lower()
        return Client(str(self._behind(peer, ",".join(forwarded))), self._user(request), protocol == "https")

    def _is_proxy(self, address: IpAddress) -> bool:
        return any(address in network for network in self._access.proxies)

    def _behind(self, peer: IpAddress, forwarded: str) -> IpAddress:
        """Return the last address of X-Forwarded-For that is not a proxy's: each proxy appends that of its client."""
        client = peer
        for text in reversed(forwarded.rsplit(",", _MAX_PROXIES)[-_MAX_PROXIES:]):
            address = parse_address(text.strip())
            if address is None:
                break
            client = address
            if not self._is_proxy(address):
                break
        return client

    def _user(self, request: web.BaseRequest) -> str | None:
        header = self._access.user_header
        values = request.headers.getall(header, []) if header else []
        if not any(values):
            return None
        user = values[0].strip()
        if len(values) > 1 or not user.isprintable() or len(user) > MAX_USER_LENGTH:
            expected = f"{header}: expected one name of at most {MAX_USER_LENGTH} printable characters"
            got = f"{len(values)} values" if len(values) > 1 else "another text"
            raise RequestError(HTTPStatus.BAD_REQUEST, f"{expected}, got {got}; let the proxy replace the header.")
        return user
