"""Documents of single monitors: found by name, explained, and those that are silent. Each is read when asked for."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

import msgspec
from aiohttp import web

from peekaping_producer.errors import ProducerError, RedisError, StoreError
from peekaping_producer.operations.answering import answering
from peekaping_producer.operations.explain.document import candidates_document, document_of
from peekaping_producer.operations.explain.facts import Facts
from peekaping_producer.operations.explain.reading import Readers, explain_by
from peekaping_producer.operations.explain.silent import SilentMonitors, silent_document
from peekaping_producer.operations.explain.verdict import verdict_of
from peekaping_producer.operations.moments import Moments
from peekaping_producer.operations.naming import MAX_FOUND, WITHOUT_NAMES, find_scheduled
from peekaping_producer.service.text import one_line
from peekaping_producer.ui.answers import VERSION, answer
from peekaping_producer.ui.names import MAX_NAME_LENGTH
from peekaping_producer.ui.rendering.monitor import monitor_view
from peekaping_producer.ui.rendering.silent import silent_view
from peekaping_producer.ui.turns import Turns
from peekaping_producer.web.refusals import RequestError

HEARTBEATS = 30
"""That the page shows of a monitor."""
EXPLAINED_AT_ONCE = 2
_MAX_TEXT_LENGTH = 300
_MAX_PROBLEM_LENGTH = 200
_SAME_FOR_S = 1.0
"""Requests for one monitor within this time get the same document."""
_MAX_KEPT = 100
"""Documents."""
_SILENT_FOR_S = 30.0
"""How long a list of silent monitors is returned again: to read it costs a step in an index for each active monitor."""
_SILENT_WITHIN_S = 30.0
"""To read it."""


class Monitors:
    """Reads the database on connections of its own: no hand-off waits for them."""

    def __init__(
        self,
        readers: Readers,
        read_silent: Callable[[datetime], Awaitable[SilentMonitors]],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`read_silent`: as explain.silent.read_silent."""
        self._readers = readers
        self._read_silent = read_silent
        self._clock = clock
        self._explaining = Turns(EXPLAINED_AT_ONCE)
        self._searching = Turns(1)
        self._listing = Turns(1)
        self._explained: dict[str, tuple[float, dict[str, Any]]] = {}
        self._silent: tuple[float, SilentMonitors] | None = None

    def routes(self) -> Sequence[web.RouteDef]:
        """Return the routes."""
        return [
            web.get("/api/monitors", self._search),
            web.get("/api/monitors/{id}", self._explain),
            web.get("/api/silent", self._list_silent),
            web.get("/api/views/monitors/{id}", self._show),
            web.get("/api/views/silent", self._show_silent),
        ]

    async def _search(self, request: web.Request) -> web.Response:
        """Find monitors by the beginning of the id or parts of the name; `more`: that at least so many more match.

        `problem`: why an active monitor cannot be scheduled; "" if it can.
        """
        text = _text(request.query.get("q", "").strip())
        async with self._searching.turn():
            try:
                async with answering(), self._readers.store.session() as session:
                    found = await session.find(text, MAX_FOUND + 1)
            except StoreError as error:
                return await self._search_schedule(text, error)
        monitors = [
            {
                "id": one.plan.id,
                "name": one_line(one.name, MAX_NAME_LENGTH),
                "interval_s": one.plan.interval or None,
                "active": one.plan.interval > 0 or one.plan.problem != "",
                "problem": one_line(one.plan.problem, _MAX_PROBLEM_LENGTH),
            }
            for one in found
        ]
        return _found(monitors)

    async def _search_schedule(self, text: str, error: StoreError) -> web.Response:
        """Find monitors by the beginning of the id, without the database. Raises RequestError for other texts."""
        try:
            found = await find_scheduled(self._readers.schedule, text, MAX_FOUND + 1)
        except RedisError:
            found = ()
        if not found:
            raise _unavailable(WITHOUT_NAMES, error)
        unknown = {"name": None, "interval_s": None, "active": None, "problem": ""}
        return _found([{"id": one.id, **unknown} for one in found], one_line(str(error), 300))

    async def _explain(self, request: web.Request) -> web.Response:
        return answer(await self._document(_text(request.match_info["id"])))

    async def _show(self, request: web.Request) -> web.Response:
        return answer(monitor_view(await self._document(_text(request.match_info["id"]))))

    async def _document(self, text: str) -> dict[str, Any]:
        """Return the document of a monitor, which was read within the last second."""
        known = self._explained.get(text)
        if known is None or self._clock() - known[0] >= _SAME_FOR_S:
            async with self._explaining.turn():
                document = await self._read(text)
            self._explained = {key: kept for key, kept in self._explained.items() if self._is_recent(kept[0])}
            if len(self._explained) < _MAX_KEPT:
                self._explained[text] = (self._clock(), document)
            return document
        return known[1]

    def _is_recent(self, read_at: float) -> bool:
        return self._clock() - read_at < _SAME_FOR_S

    async def _read(self, text: str) -> dict[str, Any]:
        """Read the document. Raises RequestError."""
        explained = await explain_by(self._readers, text)
        if explained.candidates:
            return candidates_document(explained.candidates, explained.database_error)
        facts = explained.facts
        if facts is None:
            raise RequestError(HTTPStatus.SERVICE_UNAVAILABLE, one_line(explained.problem, 500), retry_after_s=5)
        return monitor_document(facts)

    async def _list_silent(self, _request: web.Request) -> web.Response:
        return answer(silent_document(await self._silent_monitors()))

    async def _show_silent(self, _request: web.Request) -> web.Response:
        return answer(silent_view(await self._silent_monitors()))

    async def _silent_monitors(self) -> SilentMonitors:
        """Return the list, which was read within the last half minute. Raises RequestError."""
        async with self._listing.turn():
            if self._silent is None or self._clock() - self._silent[0] >= _SILENT_FOR_S:
                self._silent = (self._clock(), await self._find_silent())
        return self._silent[1]

    async def _find_silent(self) -> SilentMonitors:
        """Read the list. Raises RequestError."""
        try:
            async with asyncio.timeout(_SILENT_WITHIN_S):
                return await self._read_silent(datetime.now(UTC))
        except TimeoutError:
            reason = f"The database did not return all monitors within {_SILENT_WITHIN_S:g} s. "
            reason += "Run in a terminal: peekaping-producer explain --silent"
            raise RequestError(HTTPStatus.SERVICE_UNAVAILABLE, reason, retry_after_s=30) from None
        except ProducerError as error:
            raise _unavailable("The database does not answer", error) from None


def monitor_document(facts: Facts) -> dict[str, Any]:
    """Return the document of a monitor: that of `explain --json`, and holds."""
    return {
        **document_of(facts, verdict_of(facts, Moments(facts.now_ms))),
        "now_ms": facts.now_ms,
        "hold": msgspec.to_builtins(facts.hold),
        "hold_on_all": msgspec.to_builtins(facts.hold_on_all),
    }


def _found(monitors: Sequence[dict[str, Any]], database_error: str = "") -> web.Response:
    more = max(0, len(monitors) - MAX_FOUND)
    found = {"version": VERSION, "monitors": monitors[:MAX_FOUND], "more": more}
    return answer({**found, "database_error": database_error or None})


def _text(given: str) -> str:
    """Return the text of a request. Raises RequestError."""
    if not 1 <= len(given) <= _MAX_TEXT_LENGTH:
        sentence = f"text: expected 1 to {_MAX_TEXT_LENGTH} characters, got {len(given)}."
        raise RequestError(HTTPStatus.BAD_REQUEST, sentence)
    return given


def _unavailable(sentence: str, error: ProducerError) -> RequestError:
    reason = one_line(str(error), 300)
    return RequestError(HTTPStatus.SERVICE_UNAVAILABLE, f"{sentence}: {reason}", retry_after_s=5)
