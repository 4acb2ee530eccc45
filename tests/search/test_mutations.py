"""Each guard of the scripts is needed: with one of them taken out, the search finds within seconds what breaks."""

import pytest

from tests.search.explore import Scope, Search
from tests.search.rules import Broken
from tests.search.world import Mutation

MOST = 40_000
"""States; a few seconds."""

OURS = "scores[i] and tonumber(scores[i]) == token"
ENDED = "if token <= now then return 0 end"
HELD = "leases[i] and tonumber(leases[i]) == token"
SEEN = "tonumber(ARGV[2 * i + 1])"
ALIVE = "lease_left and lease_left > -ASYNQ_LEASE_ALLOWANCE_S and lease_left <= LONGEST_ASYNQ_LEASE_S"
MEANT = "claimed[2 * n] = late[n]"

GUARDS: dict[str, tuple[tuple[str, str, str, str], ...]] = {
    "claim": (
        ("I1", "deadline", "tonumber(ARGV[4]) > 0 and now > tonumber(ARGV[4])", "false"),
        ("late", "tick that was meant", MEANT, ""),
        ("due", "order", "KEYS[1], '-inf', now, 'BYSCORE',", "KEYS[1], now, '-inf', 'BYSCORE', 'REV',"),
    ),
    "hand_off": (
        ("I2", "lease presence", HELD, "tonumber(leases[i] or token) == token"),
        ("I2", "token comparison", HELD, "leases[i]"),
        ("I3", "token expiry", "token > now and leases[i]", "leases[i]"),
        ("I2", "asynq lease: allowance", "ASYNQ_LEASE_ALLOWANCE_S = 30", "ASYNQ_LEASE_ALLOWANCE_S = 0"),
        ("I8", "asynq lease: ended", ALIVE, "lease_left and lease_left <= LONGEST_ASYNQ_LEASE_S"),
        ("I8", "asynq lease: far ahead", ALIVE, "lease_left and lease_left > -ASYNQ_LEASE_ALLOWANCE_S"),
        ("I8", "pending and in the list", "state == 'pending' and queued(task_id, task[2])", "state == 'pending'"),
        ("I8", "archived cleanup", "for set = 9, 10 do", "for set = 9, 8 do"),
        ("I8", "active cleanup", "if state == 'active' then redis.call('LREM', KEYS[5], 0, task_id) end", ""),
        ("I8", "asynq lease cleanup", "for set = 6, 8 do", "for set = 7, 8 do"),
        ("I8", "fresh message", "redis.call('HSET', key, 'msg', ARGV[4 + 3 * i])", ""),
        ("late", "late cleanup", "redis.call('EXISTS', KEYS[11]) == 1", "false"),
    ),
    "drop": (
        ("I2", "token comparison", OURS, "scores[i]"),
        ("I3", "token expiry", ENDED, ""),
        ("late", "late cleanup", "redis.call('ZREM', KEYS[2], unpack(ours))", ""),
    ),
    "give_back": (
        ("I2", "token comparison", OURS, "scores[i]"),
        ("I3", "token expiry", ENDED, ""),
        ("due", "LT", "KEYS[1], 'LT', ", "KEYS[1], "),
        ("late", "tick that was meant", "redis.call('ZADD', KEYS[3], unpack(late))", ""),
    ),
    "reclaim": (
        ("due", "LT", "KEYS[1], 'LT', ", "KEYS[1], "),
        ("due", "LT for late", "KEYS[3], 'LT', ", "KEYS[3], "),
        ("due", "absurd leases", "#expired < 2 * limit", "false"),
        ("due", "not before the claim", "math.floor(tonumber(expired[i + 1])) - ttl", "now - 10 * ttl"),
    ),
    "place": (
        ("I5", "term", "redis.call('GET', KEYS[3]) ~= ARGV[1]", "false"),
        ("I1", "lease left alone", "elseif lease[i] then", "elseif false then"),
        ("due", "due left alone", "elseif not due[i] then", "elseif true then"),
        ("late", "late cleanup", "redis.call('ZREM', KEYS[4], unpack(removed))", ""),
    ),
    "move": (
        ("I5", "term", "redis.call('GET', KEYS[2]) ~= ARGV[1]", "false"),
        ("I1", "score comparison", "score == tonumber(ARGV[3 * i + 2])", "true"),
    ),
    "remove": (
        ("I5", "term", "redis.call('GET', KEYS[2]) ~= ARGV[1]", "false"),
        ("I1", "score comparison", f"scores[i] and tonumber(scores[i]) == {SEEN}", "scores[i]"),
        ("late", "late cleanup", "redis.call('ZREM', KEYS[3], unpack(same))", ""),
    ),
    "campaign": (
        ("I5", "holder", "if not holder or", "if true or"),
        ("I5", "renewed by its holder", "holder and holder == ARGV[1]", "holder"),
        ("I5", "repeat after a lost answer", "or holder == ARGV[2] or", "or"),
        ("I1", "absurd TTL", "or left > tonumber(ARGV[4])", ""),
        ("I1", "key without end", "or left < 0", ""),
    ),
    "resign": (("I5", "holder", "redis.call('GET', KEYS[1]) == ARGV[1]", "true"),),
}
"""By script: the invariant that breaks, the guard, its text, and the text in its place."""


@pytest.mark.parametrize(
    ("script", "invariant", "guard", "text", "instead"),
    [pytest.param(script, *guard, id=f"{script}: {guard[1]}") for script, guards in GUARDS.items() for guard in guards],
)
def test_the_search_finds_a_guard_that_is_gone(
    script: str, invariant: str, guard: str, text: str, instead: str
) -> None:
    scope = Scope(monitors=2 if guard == "order" else 1, edits=2, faults=1, most=MOST)
    with pytest.raises(Broken) as found:
        Search(scope, Mutation(script, text, instead)).run()
    print(f"{script} without {guard}: {found.value}")
    assert found.value.invariant == invariant
