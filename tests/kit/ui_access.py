"""The access to the page on a real port, in front of routes that only answer."""

import ipaddress
import json
from base64 import b64encode
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
from aiohttp import web
from multidict import CIMultiDict, CIMultiDictProxy

from peekaping_producer.settings import UiAccess
from peekaping_producer.ui.access import AccessEndpoints
from peekaping_producer.ui.access.endpoints import visitor_of
from peekaping_producer.ui.access.gate import Gate
from peekaping_producer.ui.app import application
from peekaping_producer.ui.static_files import StaticFiles
from tests.kit.processes import HOST

TOKEN = "kanari-act-token é%1"
READ_TOKEN = "kanari-see-token/2"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
OTHER_ADDRESS = "127.0.0.2"
"""Another client of the loopback interface."""
LOCAL_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
BOTH = UiAccess(token=TOKEN, read_token=READ_TOKEN)
LOCAL = UiAccess(is_public=True, hosts=LOCAL_NAMES)
PUBLIC = UiAccess(token=TOKEN, is_public=True)
PROXIED = UiAccess(
    proxies=(ipaddress.ip_network(f"{HOST}/32"), ipaddress.ip_network("10.0.0.0/8")),
    user_header="X-Forwarded-User",
    act_users=frozenset({"anna"}),
)

Headers = dict[str, str] | Iterable[tuple[str, str]]


def basic(token: str) -> dict[str, str]:
    return {"Authorization": f"Basic {b64encode(f'any:{token}'.encode()).decode()}"}


class Times:
    """The clocks of a gate."""

    def __init__(self) -> None:
        self.monotonic = 1000.0
        self.unix = 1_795_351_066.0

    def go_on(self, seconds: float) -> None:
        self.monotonic += seconds
        self.unix += seconds


class Answer:
    """An answer, read to its end."""

    def __init__(self, status: int, body: dict[str, Any], headers: CIMultiDictProxy[str]) -> None:
        self.status = status
        self.body = body
        self.headers = headers

    @property
    def cookie(self) -> str:
        """The cookie that it sets, as a request sends it."""
        return self.headers["Set-Cookie"].partition(";")[0]


class Page:
    """A page with an access, and a client at HOST."""

    def __init__(self, access: UiAccess, times: Times) -> None:
        self.endpoints = AccessEndpoints(access, Gate(access, clock=lambda: times.monotonic, now=lambda: times.unix))
        self.times = times
        self.port = 0

    @property
    def origin(self) -> dict[str, str]:
        return {"Origin": f"http://{HOST}:{self.port}"}

    async def request(
        self, method: str, path: str, headers: Headers = (), data: bytes | None = None, *, client: str = HOST
    ) -> Answer:
        connector = aiohttp.TCPConnector(local_addr=(client, 0))
        given = CIMultiDict(headers)
        if data is not None:
            given.setdefault("Content-Type", "application/json")
        async with (
            aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar()) as session,
            session.request(method, f"http://{HOST}:{self.port}{path}", headers=given, data=data) as response,
        ):
            text = await response.text()
            is_json = response.content_type == "application/json"
            return Answer(response.status, await response.json() if is_json else {"text": text}, response.headers)

    async def get(self, path: str = "/api/frames", headers: Headers = (), *, client: str = HOST) -> Answer:
        return await self.request("GET", path, headers, client=client)

    async def act(self, headers: Headers = (), *, client: str = HOST) -> Answer:
        """Ask for an act."""
        return await self.request("POST", "/api/acts/hold", headers, b"{}", client=client)

    async def log_in(self, token: str = TOKEN, headers: Headers | None = None, *, client: str = HOST) -> Answer:
        given = self.origin if headers is None else headers
        return await self.request("POST", "/api/login", given, json.dumps({"token": token}).encode(), client=client)


class _Routes:
    """Routes in place of those of the fleet."""

    def __init__(self, routes: Sequence[web.RouteDef]) -> None:
        self._routes = routes

    def routes(self) -> Sequence[web.RouteDef]:
        return self._routes


async def _reply(request: web.Request) -> web.Response:
    visitor = visitor_of(request)
    return web.json_response({"who": visitor.who, "address": visitor.address, "role": visitor.role.name})


@asynccontextmanager
async def page(
    access: UiAccess,
    times: Times | None = None,
    acts: Sequence[web.RouteDef] | None = None,
    frames: Sequence[web.RouteDef] | None = None,
) -> AsyncIterator[Page]:
    """`acts`, `frames`: their routes; without them a request only gets an answer."""
    running = Page(access, times or Times())
    routes = [
        *([web.get("/api/frames", _reply)] if frames is None else frames),
        *([web.post("/api/acts/hold", _reply)] if acts is None else acts),
    ]
    runner = web.AppRunner(application(running.endpoints, _Routes(routes), files=StaticFiles()), access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, HOST, 0).start()
        running.port = runner.addresses[0][1]
        yield running
    finally:
        await runner.cleanup()
