"""The monitors that have waited longest, and the replicas that hold them."""

from collections.abc import Iterator, Mapping

from peekaping_producer.operations.look import Look
from peekaping_producer.schedule import MAX_ID_LENGTH, Details, number_of
from peekaping_producer.ui.bounds import bounded, short
from peekaping_producer.ui.frame import MAX_OVERDUE, OverdueMonitor
from peekaping_producer.ui.names import Named

_WAITS_NOTICEABLY_MS = 1000
"""A due monitor is claimed sooner than this if nothing is wrong."""
_HELD_NOTICEABLY_MS = 2000
"""A claim is handed off sooner than this if nothing is wrong."""


def longest_overdue(details: Details, look: Look, names: Mapping[str, Named]) -> list[OverdueMonitor]:
    """Return at most MAX_OVERDUE monitors, the longest known wait first: since the due time, or since the claim."""
    waiting = [*_claimed(details, look, names), *_unclaimed(details, names)]
    waiting.sort(key=lambda found: (found.due_ms or found.claimed_ms or 0, found.id))
    return waiting[:MAX_OVERDUE]


def overdue_ids(details: Details) -> list[str]:
    """Return the ids of the monitors that may be shown."""
    members = [member.id for found in (details.overdue, details.leases) for member in found[:MAX_OVERDUE]]
    return list(dict.fromkeys([*members, *(member.id for member in details.claimed[:MAX_OVERDUE])]))


def _unclaimed(details: Details, names: Mapping[str, Named]) -> Iterator[OverdueMonitor]:
    for member in details.overdue:
        due_ms = number_of(member.score)
        if due_ms is not None and details.now_ms - due_ms >= _WAITS_NOTICEABLY_MS:
            named = names.get(member.id, Named(None))
            yield OverdueMonitor(short(member.id, MAX_ID_LENGTH), named.name, named.interval_s, due_ms, None)


def _claimed(details: Details, look: Look, names: Mapping[str, Named]) -> Iterator[OverdueMonitor]:
    claims = {
        number_of(claim.token): (node, claim.since_ms)
        for node, beat in look.heartbeats.items()
        for claim in beat.claims
    }
    due = {member.id: member.due_ms for member in details.claimed}
    if look.stats and look.stats.oldest_id and look.stats.oldest_due_ms:
        due.setdefault(look.stats.oldest_id, look.stats.oldest_due_ms)
    tokens = {member.id: member.token for member in details.claimed}
    tokens |= {member.id: member.score for member in details.leases}
    for id_, token in tokens.items():
        node, since_ms = claims.get(number_of(token), ("", None))
        claimed_ms = None if since_ms is None else bounded(since_ms)
        due_ms = due.get(id_)
        if min(claimed_ms or details.now_ms, due_ms or details.now_ms) > details.now_ms - _HELD_NOTICEABLY_MS:
            continue
        named, holder = names.get(id_, Named(None)), short(look.name(node), 60) if node else ""
        yield OverdueMonitor(short(id_, MAX_ID_LENGTH), named.name, named.interval_s, due_ms, holder, claimed_ms)
