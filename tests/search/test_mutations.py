"""Each guard of the scripts is needed: if one is removed, the search finds within seconds what breaks."""

import pytest

from tests.kit.invariants import InvariantError, Mutation
from tests.search.explore import Scope, Search

MOST = 40_000
"""States, which take a few seconds."""

HELD = "scores[i] and tonumber(scores[i]) == token"
NOT_ENDED = "token > now and scores[i]"
LEADS = "redis.call('GET', leader) == term"
RUNNING = "left and left > -ASYNQ_LEASE_ALLOWANCE_S and left <= MAX_ASYNQ_LEASE_S"
MEANT = "claimed[2 * n] = late[n]"

GUARDS: dict[str, tuple[tuple[str, str, str, str], ...]] = {
    "claim": (
        ("I1", "deadline", "deadline > 0 and now > deadline", "false"),
        ("late", "intended due time", MEANT, ""),
        ("due", "order", "DUE, '-inf', now, 'BYSCORE',", "DUE, now, '-inf', 'BYSCORE', 'REV',"),
    ),
    "hand_off": (
        ("I2", "lease presence", HELD, "tonumber(scores[i] or token) == token"),
        ("I2", "token comparison", HELD, "scores[i]"),
        ("I3", "token expiry", NOT_ENDED, "scores[i]"),
        ("I2", "asynq lease: allowance", "ASYNQ_LEASE_ALLOWANCE_S = 30", "ASYNQ_LEASE_ALLOWANCE_S = 0"),
        ("I8", "asynq lease: ended", RUNNING, "left and left <= MAX_ASYNQ_LEASE_S"),
        ("I8", "asynq lease: far ahead", RUNNING, "left and left > -ASYNQ_LEASE_ALLOWANCE_S"),
        ("I8", "pending and in the list", "state == 'pending' and is_queued(task_id, since)", "state == 'pending'"),
        ("I8", "archived cleanup", "{ARCHIVED, COMPLETED}", "{}"),
        ("I8", "active cleanup", "if state == 'active' then redis.call('LREM', ACTIVE, 0, task_id) end", ""),
        ("I8", "asynq lease cleanup", "{ASYNQ_LEASE, RETRY, SCHEDULED}", "{RETRY, SCHEDULED}"),
        ("I8", "fresh message", "redis.call('HSET', key, 'msg', messages[i])", ""),
        ("late", "late cleanup", "redis.call('EXISTS', LATE) == 1", "false"),
        ("due", "phase", "* period + phase", "* period"),
        ("due", "switch", "width == 4 and arguments(9, width) or {}", "{}"),
    ),
    "drop": (
        ("I2", "token comparison", HELD, "scores[i]"),
        ("I3", "token expiry", NOT_ENDED, "scores[i]"),
        ("late", "late cleanup", "redis.call('ZREM', LATE, unpack(ours))", ""),
    ),
    "reschedule": (("I2", "token comparison", HELD, "scores[i]"), ("I3", "token expiry", NOT_ENDED, "scores[i]")),
    "give_back": (
        ("I2", "token comparison", HELD, "scores[i]"),
        ("I3", "token expiry", NOT_ENDED, "scores[i]"),
        ("due", "LT", "DUE, 'LT', ", "DUE, "),
        ("late", "intended due time", "redis.call('ZADD', LATE, unpack(late))", ""),
    ),
    "reclaim": (
        ("due", "LT", "DUE, 'LT', ", "DUE, "),
        ("due", "LT for late", "LATE, 'LT', ", "LATE, "),
        ("due", "leases that are too long", "#found < 2 * limit", "false"),
        ("due", "not before the claim", "math.floor(tonumber(expired[i + 1])) - ttl", "now - 10 * ttl"),
    ),
    "place": (
        ("I5", "term", LEADS, "true"),
        ("I1", "lease left alone", "if lease then return LEASED end", ""),
        ("due", "due left alone", "if not due then", "if true then"),
        ("late", "late cleanup", "{DUE, LEASE, LATE}", "{DUE, LEASE}"),
    ),
    "move": (("I5", "term", LEADS, "true"), ("I1", "score comparison", "score == tonumber(seen[i])", "true")),
    "remove": (
        ("I5", "term", LEADS, "true"),
        ("I1", "score comparison", "scores[i] and tonumber(scores[i]) == tonumber(seen[i])", "scores[i]"),
        ("late", "late cleanup", "redis.call('ZREM', LATE, unpack(same))", ""),
    ),
    "campaign": (
        ("I5", "holder", "if not holder or", "if true or"),
        ("I5", "renewed by its holder", "holder and holder == current_term", "holder"),
        ("I5", "retry after a lost reply", "or holder == new_term or", "or"),
        ("I1", "TTL that is too long", "or left > longest_ttl", ""),
        ("I1", "key without TTL", "or left < 0", ""),
    ),
    "resign": (("I5", "holder", LEADS, "true"),),
}
"""By script: the invariant that breaks, the guard, its text, and the replacement."""


GUARDS_OF_ACTS: dict[str, tuple[tuple[str, str, str, str], ...]] = {
    "claim": (
        ("hold", "hold on all", "if held_until then return", "if false then return"),
        ("hold", "end of the hold", "ends > now and", "false and"),
    ),
    "place": (
        ("hold", "held left alone", "if held then return due < held and HOLD or AGREES end", ""),
        (
            "hold",
            "added at the end of the hold",
            "held[id] and tick_after_hold(held[id], periods[i], phase) or now",
            "now",
        ),
        ("hold", "moved by a peer", "elseif found == HOLD then", "elseif false then"),
        ("hold", "hold ends with the monitor", "redis.pcall('HDEL', HELD, unpack(removed))", ""),
    ),
    "move": (("hold", "held left alone", "not held[id] and", ""),),
    "remove": (("hold", "hold ends with the monitor", "redis.pcall('HDEL', HELD, unpack(same))", ""),),
    "run_now": (
        ("hold", "hold on all", "if held_all then", "if false then"),
        ("I1", "lease left alone", "if lease[i] then return 'leased' end", ""),
        ("I1", "not in the schedule", "if not due[i] then return 'absent' end", "due[i] = due[i] or now + 1"),
        ("hold", "held left alone", "if held[id] then return 'held' end", ""),
        ("late", "overdue left alone", "tonumber(due[i]) <= now and 'already_due' or", ""),
        ("late", "postponed", "is_postponed(tonumber(due[i])) and exact(now - 0.5) or now", "now"),
    ),
    "hold": (
        ("I1", "lease left alone", "if id ~= ALL and lease[i] then return 'leased' end", ""),
        ("I1", "not in the schedule", "if id ~= ALL and not due[i] then return 'absent' end", ""),
        ("hold", "first tick after the end", "tick_after_hold(ends, periods[i],", "tick_after_hold(now, periods[i],"),
        ("late", "late cleanup", "redis.call('ZREM', LATE, unpack(moved))", ""),
    ),
    "release": (
        (
            "due",
            "held only",
            "if hold_end(values[i], id == ALL and MAX_HOLD_ALL_MS or MAX_HOLD_MS) then",
            "if true then",
        ),
        ("I4", "not in the schedule", "id ~= ALL and due[i] then", "id ~= ALL then"),
        ("due", "next tick", "period > 0 and next_tick(period, spread and phases[i] or 0) or now", "now + 60000"),
    ),
}
"""The same for holds, and for what people do."""
CASES = [
    pytest.param(script, acts, *guard, id=f"{script}: {guard[1]}")
    for acts, scripts in enumerate((GUARDS, GUARDS_OF_ACTS))
    for script, guards in scripts.items()
    for guard in guards
]


@pytest.mark.parametrize(("script", "acts", "invariant", "guard", "text", "instead"), CASES)
def test_the_search_finds_that_a_guard_is_missing(
    script: str, acts: int, invariant: str, guard: str, text: str, instead: str
) -> None:
    turns = 1 if guard in ("phase", "switch") else 0
    scope = Scope(monitors=2 if guard == "order" else 1, edits=2, faults=0 if turns else 1, turns=turns, most=MOST)
    if acts:
        scope = Scope(edits=1, acts=2, most=MOST)
    with pytest.raises(InvariantError) as found:
        Search(scope, Mutation(script, text, instead)).run()
    print(f"{script} without {guard}: {found.value}")
    assert found.value.invariant == invariant
