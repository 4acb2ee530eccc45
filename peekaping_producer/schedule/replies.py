"""Decode what the scripts return."""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
from msgspec.structs import replace

from peekaping_producer.schedule.limits import FORGET_REPORT_S, REPORT_AGE_S
from peekaping_producer.schedule.model import (
    ClaimedMember,
    Comparison,
    Details,
    LeasedClaim,
    Member,
    Placement,
    Stats,
    StoredEvent,
    StoredReport,
    SyncRequest,
)

MAX_SCORE = 2.0**53
"""Of a score that can be a time in ms."""


def decode_text(value: Any) -> str:
    """Decode a string of Redis, which may contain any bytes."""
    decoded: str = value.decode(errors="surrogateescape")
    return decoded


def number_of(score: bytes | str) -> float | None:
    """Return the score as a number, at most MAX_SCORE away from 0: it may be infinite. None if it is not a number."""
    try:
        number = float(score)
    except ValueError:
        return None
    return None if math.isnan(number) else max(-MAX_SCORE, min(number, MAX_SCORE))


def decode_stats(reply: list[Any], read_at: float) -> Stats:
    """Decode a reply of `stats`. `read_at`: time.time() in the middle of the call."""
    now_ms, due, leased, in_due, late, intended, oldest_id, excess, leader, ttl_ms, problems, refusal, stored = reply[
        :13
    ]
    oldest_claim, hold, is_watched, events_refused, sync_request, unclaimed, held, retried, postponed = reply[13:]
    reports = list(_reports(stored, now_ms))
    return Stats(
        now_ms=now_ms,
        due=due,
        leased=leased,
        unclaimed=in_due,
        late=late,
        postponed=postponed,
        oldest_due_ms=float(intended) if intended else None,
        oldest_id=decode_text(oldest_id) or None,
        oldest_unclaimed_ms=float(unclaimed) if unclaimed else None,
        oldest_retried_ms=float(retried) if retried else None,
        lease_excess_ms=excess,
        leader=decode_text(leader) or None,
        leader_ttl_ms=ttl_ms if ttl_ms >= 0 else None,
        problems=tuple(decode_text(each) for each in problems),
        write_refused=decode_text(refusal) or None,
        reports=tuple(found for found in reports if _age_s(found, now_ms) <= REPORT_AGE_S),
        silent=tuple(found for found in reports if _age_s(found, now_ms) > REPORT_AGE_S),
        oldest_claim=_leased_claim(*oldest_claim) if oldest_claim else None,
        hold=hold or None,
        sync_request=_sync_request(sync_request),
        is_watched=bool(is_watched),
        events_refused=decode_text(events_refused) or None,
        held=held,
        clock_skew_s=now_ms / 1000 - read_at,
    )


def decode_details(reply: list[Any]) -> Details:
    """Decode a reply of `look`."""
    now_ms, overdue, leases, cumulative, events, refusal, claimed = reply
    return Details(
        now_ms,
        tuple(Member(decode_text(name), decode_text(score)) for name, score in _pairs(overdue)),
        tuple(Member(decode_text(name), decode_text(score)) for name, score in _pairs(leases)),
        tuple(count - before for count, before in zip(cumulative, [0, *cumulative], strict=False)),
        tuple(StoredEvent(decode_text(name), text) for name, text in _pairs(events)),
        decode_text(refusal) or None,
        tuple(
            ClaimedMember(decode_text(name), decode_text(token), float(due))
            for name, token, due in zip(claimed[::3], claimed[1::3], claimed[2::3], strict=True)
        ),
    )


def decode_comparison(reply: list[Any], ids: Sequence[str]) -> Comparison:
    """Decode a reply of `compare`. `ids`: those of the plans."""
    now_ms, flat = reply
    found: dict[bytes, list[Placement]] = {}
    for n, what, due, to_ms in zip(flat[::4], flat[1::4], flat[2::4], flat[3::4], strict=True):
        found.setdefault(what, []).append(Placement(ids[n - 1], decode_text(due), int(to_ms) if to_ms else None))
    return Comparison(
        now_ms,
        tuple(found.get(b"add", ())),
        tuple(found.get(b"move", ())),
        tuple(each.id for each in found.get(b"remove", ())),
        tuple(each.id for each in found.get(b"leased", ())),
        len(found.get(b"postponed", ())),
        len(found.get(b"held", ())),
    )


def _pairs(flat: list[bytes]) -> Iterator[tuple[bytes, bytes]]:
    return zip(flat[::2], flat[1::2], strict=True)


def _reports(flat: list[bytes], now_ms: int) -> Iterator[StoredReport]:
    """The reports of the last minute; ignores other fields."""
    for node, value in zip(flat[::2], flat[1::2], strict=False):
        at, _, text = value.partition(b" ")
        if at.isdigit() and len(at) < 20 and abs(now_ms - int(at)) <= FORGET_REPORT_S * 1000:
            yield StoredReport(decode_text(node), int(at), text)


def _age_s(report: StoredReport, now_ms: int) -> float:
    return abs(now_ms - report.at_ms) / 1000


def _leased_claim(token: bytes, monitors: int) -> LeasedClaim:
    ends_ms = math.floor(max(-MAX_SCORE, min(float(token), MAX_SCORE)))
    return LeasedClaim(decode_text(token), monitors, ends_ms)


def _sync_request(stored: bytes) -> SyncRequest | None:
    """The request for a sync; None if there is none, or if it is malformed."""
    try:
        request = msgspec.json.decode(stored, type=SyncRequest) if stored else None
    except (msgspec.MsgspecError, RecursionError, ValueError):
        return None
    return request and replace(request, stored=stored)
