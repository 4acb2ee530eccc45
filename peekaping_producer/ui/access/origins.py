"""Refuses requests that another web site makes a browser send (CSRF), and those for another host (DNS rebinding)."""

import re
from collections.abc import Collection
from http import HTTPStatus
from urllib.parse import urlsplit

from aiohttp import web

from peekaping_producer.service.text import one_line
from peekaping_producer.ui.access.roles import Credential
from peekaping_producer.web.refusals import RequestError

_HOST = re.compile(r"(?:\[(?P<bracketed>[0-9A-Fa-f:.]+)\]|(?P<name>[\w.-]+))(?::[0-9]*)?")
READS = frozenset({"GET", "HEAD"})


def check_host(request: web.BaseRequest, hosts: Collection[str] | None) -> None:
    """Raise RequestError if Host contains none of the names `hosts`; None: any.

    The name of an attacker's web site may lead to this address; the browser then considers both the same site.
    """
    if hosts is not None and _name_in(request.headers.get("Host", "")) not in hosts:
        got = one_line(repr(request.headers.get("Host", "")), 80)
        reason = f"Host: expected localhost or a name of UI_HOSTS, got {got}; add the name to UI_HOSTS"
        raise RequestError(HTTPStatus.FORBIDDEN, reason)


def check_origin(request: web.BaseRequest, credential: Credential) -> None:
    """Raise RequestError if another web site may have caused the request.

    Browsers send Sec-Fetch-Site only over https and to localhost, but Origin with every POST.
    """
    sites = set(request.headers.getall("Sec-Fetch-Site", []))
    is_read = request.method in READS
    if sites:
        if not sites <= ({"same-origin", "none"} if is_read else {"same-origin"}):
            raise _foreign("Sec-Fetch-Site", "same-origin, got another", "Open the page itself")
        return
    if is_read:
        return  # what it returns, only the same origin can read
    origins = request.headers.getall("Origin", [])
    if not origins and credential != "bearer":
        raise _foreign("Origin", "the address of the page, got none", "In a script, send Authorization: Bearer")
    if any(_host_of(origin) != request.headers.get("Host", "").lower() for origin in origins):
        raise _foreign(
            "Origin", "the same host as in Host, got another", "Behind a proxy, let it forward Host unchanged"
        )


def _foreign(header: str, expected: str, remedy: str) -> RequestError:
    reason = f"{header}: expected {expected}: this request did not come from the page. {remedy}"
    return RequestError(HTTPStatus.FORBIDDEN, reason)


def _host_of(origin: str) -> str | None:
    """Return `host:port` in lower case; None if it is not an origin of a web page."""
    try:
        parts = urlsplit(origin)
    except ValueError:
        return None
    return parts.netloc.lower() if parts.scheme in {"http", "https"} and parts.netloc else None


def _name_in(host: str) -> str | None:
    """Return the name or address in a Host, without port and brackets, in lower case; None if it contains none."""
    match = _HOST.fullmatch(host)
    return (match["bracketed"] or match["name"]).lower() if match else None
