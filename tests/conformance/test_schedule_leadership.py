"""The leader key: campaign, renew, take over, resign."""

import pytest
from redis.asyncio import Redis

from peekaping_producer.schedule import CampaignOutcome, Schedule
from peekaping_producer.schedule.keys import KEYS


async def test_one_replica_leads_and_each_term_is_new(redis: Redis, schedule: Schedule) -> None:
    won = await schedule.campaign("", "a/1", 10)
    assert (won.outcome, won.ttl_s, won.holder) == (CampaignOutcome.WON, 10, None)
    held = await schedule.campaign("", "b/1", 10)
    assert (held.outcome, held.holder) == (CampaignOutcome.HELD, "a/1")
    assert 5 < held.ttl_s <= 10
    assert (await schedule.campaign("a/1", "a/2", 10)).outcome is CampaignOutcome.RENEWED
    assert await redis.get(KEYS.leader) == b"a/1"
    await redis.delete(KEYS.leader)
    assert (await schedule.campaign("a/1", "a/2", 10)).outcome is CampaignOutcome.WON
    assert await redis.get(KEYS.leader) == b"a/2"


@pytest.mark.parametrize("ttl_ms", [3_600_000, None])
async def test_a_leader_key_with_a_ttl_that_no_leader_sets_is_taken_over(
    redis: Redis, schedule: Schedule, ttl_ms: int | None
) -> None:
    """A server's clock that was an hour ahead, or a peer that died between SET and EXPIRE."""
    await redis.set(KEYS.leader, "gone/1", px=ttl_ms)
    answer = await schedule.campaign("", "a/1", 10)
    assert (answer.outcome, answer.holder) == (CampaignOutcome.WON, "gone/1")
    assert (answer.holder_ttl_s is None) is (ttl_ms is None)
    assert 0 < await redis.pttl(KEYS.leader) <= 10_000


async def test_a_leader_key_with_a_longer_but_plausible_ttl_is_respected(redis: Redis, schedule: Schedule) -> None:
    await redis.set(KEYS.leader, "go/1", px=30_000)
    assert (await schedule.campaign("", "a/1", 10)).outcome is CampaignOutcome.HELD


async def test_a_replica_can_resign_only_its_own_term(redis: Redis, schedule: Schedule) -> None:
    await schedule.campaign("", "a/1", 10)
    assert not await schedule.resign("b/1")
    assert await schedule.resign("a/1")
    assert await redis.exists(KEYS.leader) == 0


async def test_an_empty_leader_key_is_no_leader(redis: Redis, schedule: Schedule) -> None:
    await redis.set(KEYS.leader, "", px=9000)
    assert (await schedule.campaign("", "a/1", 10)).outcome is CampaignOutcome.WON
