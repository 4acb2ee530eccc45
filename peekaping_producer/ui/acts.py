"""The routes of the acts: check monitors now, hold, release, sync."""

from collections.abc import Awaitable, Callable, Sequence
from http import HTTPStatus
from typing import Annotated, Any, TypeVar

import msgspec
import structlog
from aiohttp import web

from peekaping_producer.errors import ActError, RedisError, RedisUnavailableError, StoreError
from peekaping_producer.operations.acts import (
    DEFAULT_HOLD_ALL_S,
    DEFAULT_HOLD_S,
    MAX_RUN_NOW,
    Actor,
    ActOutcome,
    ActResult,
    Acts,
)
from peekaping_producer.operations.acts.model import MAX_WHO, MAX_WHY
from peekaping_producer.operations.reconcile.request import why_unled
from peekaping_producer.operations.reconcile.text import requested_lines
from peekaping_producer.schedule import MAX_ID_LENGTH, Schedule
from peekaping_producer.ui.access.endpoints import visitor_of
from peekaping_producer.ui.access.roles import Visitor
from peekaping_producer.ui.answers import VERSION, answer
from peekaping_producer.ui.middleware import MAX_BODY_BYTES, Handler
from peekaping_producer.ui.turns import Turns
from peekaping_producer.web.bodies import check_headers, decoded, invalid
from peekaping_producer.web.refusals import RequestError

log = structlog.stdlib.get_logger()
T = TypeVar("T")

AT_ONCE = 3
"""Acts; each uses at most one connection to Redis and one to the database at a time."""
_RETRY_AFTER_S = 5
_Id = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_ID_LENGTH)]
_Ids = Annotated[list[_Id], msgspec.Meta(min_length=1, max_length=MAX_RUN_NOW)]
_Why = Annotated[str, msgspec.Meta(max_length=MAX_WHY)]


class RunNow(msgspec.Struct, forbid_unknown_fields=True):
    """Monitors to check now."""

    ids: _Ids
    why: _Why = ""


class Hold(msgspec.Struct, forbid_unknown_fields=True):
    """Monitors to hold, or all."""

    why: _Why
    ids: _Ids | None = None
    all: bool = False
    for_s: float | None = None


class Release(msgspec.Struct, forbid_unknown_fields=True):
    """Monitors to release, or the hold on all."""

    ids: _Ids | None = None
    all: bool = False
    why: _Why = ""


class Sync(msgspec.Struct, forbid_unknown_fields=True):
    """A request for a sync."""


_run_now = msgspec.json.Decoder(RunNow).decode
_hold = msgspec.json.Decoder(Hold).decode
_release = msgspec.json.Decoder(Release).decode
_sync = msgspec.json.Decoder(Sync).decode


class ActEndpoints:
    """Performs acts for visitors who may act, which the middleware of the access ensures."""

    def __init__(self, acts: Acts, schedule: Schedule) -> None:
        self._acts = acts
        self._schedule = schedule
        self._turns = Turns(AT_ONCE)

    def routes(self) -> Sequence[web.RouteDef]:
        """Return the routes."""
        acts = {
            "run-now": self._post_run_now,
            "hold": self._post_hold,
            "release": self._post_release,
            "sync": self._post_sync,
        }
        return [web.post(f"/api/acts/{name}", self._in_turn(handler)) for name, handler in acts.items()]

    def _in_turn(self, handler: Handler) -> Handler:
        """Let at most AT_ONCE acts run: a call without a free connection would fail as one without an answer does."""

        async def handle(request: web.Request) -> web.StreamResponse:
            async with self._turns.turn():
                return await handler(request)

        return handle

    async def _post_run_now(self, request: web.Request) -> web.Response:
        body = await _body(request, _run_now)
        actor = _actor(visitor_of(request))
        return _result("run_now", await _performed(self._acts.run_now(body.ids, actor, _cleaned(body.why))))

    async def _post_hold(self, request: web.Request) -> web.Response:
        body = await _body(request, _hold)
        actor, why, ids = _actor(visitor_of(request)), _cleaned(body.why), _ids_of(body)
        if ids is None:
            act = self._acts.hold_all(actor, why, for_s=DEFAULT_HOLD_ALL_S if body.for_s is None else body.for_s)
            return _result("hold_all", await _performed(act))
        act = self._acts.hold(ids, actor, why, for_s=DEFAULT_HOLD_S if body.for_s is None else body.for_s)
        return _result("hold", await _performed(act))

    async def _post_release(self, request: web.Request) -> web.Response:
        body = await _body(request, _release)
        actor, why, ids = _actor(visitor_of(request)), _cleaned(body.why), _ids_of(body)
        if ids is None:
            return _result("release_all", await _performed(self._acts.release_all(actor, why)))
        return _result("release", await _performed(self._acts.release(ids, actor, why)))

    async def _post_sync(self, request: web.Request) -> web.Response:
        await _body(request, _sync)
        actor = _actor(visitor_of(request))
        if unled := await _performed(why_unled(self._schedule)):
            raise RequestError(HTTPStatus.CONFLICT, " ".join(requested_lines(unled)))
        await _performed(self._schedule.request_sync(f"{actor.who} ({actor.origin})"))
        log.info(
            "act.performed",
            message="A person acted on the schedule.",
            act="sync",
            who=actor.who,
            origin=actor.origin,
        )
        sentence = "The leader is asked to sync; it begins within 5 s."
        return answer({"version": VERSION, "act": "sync", "done": True, "sentence": sentence})


async def _body(request: web.Request, decode: Callable[[bytes], T]) -> T:
    check_headers(request, MAX_BODY_BYTES)
    return decoded(await request.read(), decode)


def _ids_of(body: Hold | Release) -> list[str] | None:
    """Return the ids; None for all monitors. Raises RequestError."""
    if body.all == (body.ids is not None):
        raise invalid('$: expected either "ids" or "all": true')
    return body.ids


def _cleaned(text: str) -> str:
    """Return a reason on one line, without characters that control how text is displayed."""
    return " ".join("".join(character if character.isprintable() else " " for character in text).split())


def _actor(visitor: Visitor) -> Actor:
    who = visitor.who if len(visitor.who) <= MAX_WHO else f"{visitor.who[: MAX_WHO - 1]}…"
    return Actor(who, f"page, {visitor.address}")


async def _performed(act: Awaitable[T]) -> T:
    """Return what an act did. Raises RequestError."""
    try:
        return await act
    except ActError as error:
        raise RequestError(HTTPStatus.BAD_REQUEST, str(error)) from None
    except (RedisError, StoreError) as error:
        match error:
            case RedisUnavailableError():
                reason = "Redis does not answer, so it is unknown whether this was done"
            case RedisError():
                reason = "Redis refuses this; the log of this replica contains its reason"
            case _:
                reason = "The database does not answer; nothing was done"
        log.warning("act.failed", message=f"{reason}.", error=str(error))
        raise RequestError(HTTPStatus.SERVICE_UNAVAILABLE, reason, retry_after_s=_RETRY_AFTER_S) from None


def _result(act: str, result: ActResult) -> web.Response:
    """Return the outcomes; 409 if nothing was done."""
    document: dict[str, Any] = {
        "version": VERSION,
        "act": act,
        "at_ms": result.now_ms,
        "done": result.done,
        "recorded": result.events_refused is None,
        "monitors": [_outcome(outcome) for outcome in result.outcomes],
    }
    if any(outcome.done for outcome in result.outcomes):
        return answer(document)
    document["error"] = " ".join(outcome.sentence for outcome in result.outcomes[:3])
    return answer(document, HTTPStatus.CONFLICT)


def _outcome(outcome: ActOutcome) -> dict[str, Any]:
    return {
        "id": outcome.monitor_id,
        "code": outcome.code.value,
        "done": outcome.done,
        "sentence": outcome.sentence,
        "until_ms": outcome.until_ms,
    }
