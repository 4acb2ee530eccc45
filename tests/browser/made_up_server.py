"""A server of the page that answers with made-up data, by the routes and headers of the product."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import msgspec
from aiohttp import web
from aiohttp.typedefs import Middleware

from peekaping_producer.ui.answers import answer
from peekaping_producer.ui.app import application
from peekaping_producer.ui.frame import Frame, encode_json
from peekaping_producer.ui.rendering.monitor import MonitorView, monitor_view
from peekaping_producer.ui.rendering.silent import silent_view
from peekaping_producer.ui.rendering.stream import StreamFrame, render
from peekaping_producer.ui.static_files import StaticFiles
from tests.browser import made_up
from tests.kit.processes import HOST, free_port

FRAME_EVERY_S = 0.2
TOKEN = "right"
PLACES = ("edge cache, Oslo", "edge cache, Bergen")


class MadeUpServer:
    """What it answers can be changed while it runs. `posted` contains the acts that were requested."""

    def __init__(self) -> None:
        self.frame: Callable[[int], Frame] = made_up.calm
        self.render: Callable[[Frame], StreamFrame] = render
        self.session: dict[str, Any] = {
            "version": 1,
            "user": None,
            "can_see": True,
            "can_act": True,
            "can_log_in": False,
            "can_log_out": False,
        }
        self.session |= {"why_not": None}
        self.document: Callable[[int], dict[str, Any]] = made_up.explanation
        self.view: Callable[[dict[str, Any]], MonitorView] = monitor_view
        self.found = [(f"{n}f0d5a9e-1c61-4b8e-9a50-7e1f2b6c9d04", name) for n, name in enumerate(PLACES)]
        self.problem = ""
        """Why what is found cannot be scheduled."""
        self.database_error: str | None = None
        """Why only ids are found."""
        self.act_sentence = "It is due now."
        self.posted: list[tuple[str, Any]] = []
        self.streams = 0
        self.answers = asyncio.Event()
        """While it is not set, requests for monitors get no answer."""
        self.answers.set()
        self.is_silent = False
        """Whether the streams stay open and send nothing."""
        self.middlewares: Sequence[Middleware] = ()
        self._ends = asyncio.Event()
        self._runner: web.AppRunner | None = None
        self._port = free_port()
        """Of its own: while nothing listens there, a browser that tries to connect must not reach another program."""

    @property
    def url(self) -> str:
        """Its address, without a slash at the end."""
        return f"http://{HOST}:{self._port}"

    async def start(self) -> None:
        """Listen, again if it has stopped."""
        self._ends = asyncio.Event()
        self._runner = web.AppRunner(application(self, files=StaticFiles()), access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, HOST, self._port).start()

    async def stop(self) -> None:
        """End the streams and close the port."""
        self._ends.set()
        if self._runner:
            await self._runner.cleanup()

    def routes(self) -> Sequence[web.RouteDef]:
        """Return all routes but those of files."""
        return [
            web.get("/api/session", self._session),
            web.get("/api/frames", self._frames),
            web.get("/api/monitors", self._find),
            web.get("/api/views/monitors/{id}", self._show),
            web.get("/api/views/silent", self._show_silent),
            web.post("/api/login", self._log_in),
            web.post("/api/acts/{name}", self._act),
        ]

    async def _session(self, _request: web.Request) -> web.Response:
        return answer(self.session)

    async def _frames(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store"})
        await response.prepare(request)
        self.streams += 1
        try:
            while not self._ends.is_set():
                if not self.is_silent:
                    frame = encode_json(self.render(self.frame(_now_ms())))
                    await response.write(b"event: frame\ndata: " + frame + b"\n\n")
                await asyncio.sleep(FRAME_EVERY_S)
        except ConnectionError:
            pass
        finally:
            self.streams -= 1
        return response

    async def _find(self, request: web.Request) -> web.Response:
        await self.answers.wait()
        text = request.query["q"]
        state = {"interval_s": 60, "active": True, "problem": self.problem}
        found = [{"id": id_, "name": name, **state} for id_, name in self.found if text in name]
        if self.database_error:
            found = [{**one, "name": None, "interval_s": None, "active": None} for one in found]
        return answer({"version": 1, "monitors": found, "more": 0, "database_error": self.database_error})

    async def _show(self, _request: web.Request) -> web.Response:
        await self.answers.wait()
        return answer(self.view(self.document(_now_ms())))

    async def _show_silent(self, _request: web.Request) -> web.Response:
        return answer(silent_view(made_up.silent(_now_ms())))

    async def _log_in(self, request: web.Request) -> web.Response:
        if (await request.json())["token"] != TOKEN:
            return answer({"version": 1, "error": "The token is wrong."}, 401)
        self.session |= {"can_see": True, "can_act": True, "can_log_in": False}
        return answer(self.session)

    async def _act(self, request: web.Request) -> web.Response:
        self.posted.append((request.match_info["name"], msgspec.json.decode(await request.read())))
        return answer({"version": 1, "done": True, "monitors": [{"sentence": self.act_sentence}]})


def _now_ms() -> int:
    return int(time.time() * 1000)


@asynccontextmanager
async def made_up_server() -> AsyncIterator[MadeUpServer]:
    """A running server."""
    server = MadeUpServer()
    await server.start()
    try:
        yield server
    finally:
        await server.stop()
