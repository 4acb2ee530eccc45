"""Whole replicas that hand off to RabbitMQ and to an HTTP endpoint: nothing is lost, and repeats carry the same id."""

import asyncio
import json
from collections import Counter, defaultdict
from urllib.parse import quote

from aiohttp import web

from peekaping_producer.schedule.keys import KEYS
from peekaping_producer.targets import RabbitMqTarget
from tests.kit.fleet import Fleet
from tests.kit.rabbitmq import RabbitMqApi, RabbitMqServer
from tests.kit.waiting import until

YEAR_S = 365 * 24 * 3600
"""The interval of monitors that must not become due by themselves: ticks are multiples of it since 1970."""


def settings_of(target: RabbitMqTarget, **more: str) -> dict[str, str]:
    user, password, vhost = (quote(text, safe="") for text in (target.user, target.password, target.vhost))
    url = f"amqp://{user}:{password}@{target.host}:{target.port}/{vhost}"
    return {"BROKER": "rabbitmq", "RABBITMQ_URL": url, "RABBITMQ_QUEUE": "checks", **more}


async def now_ms(fleet: Fleet) -> int:
    seconds, microseconds = await fleet.redis.time()
    return int(seconds * 1000 + microseconds // 1000)


async def all_are_rescheduled(fleet: Fleet) -> bool:
    """Whether all wait for their next tick, far ahead: those that are placed, or due again, are due by now."""
    return bool(await fleet.redis.zcount(KEYS.due, await now_ms(fleet) + 60_000, "+inf") == len(fleet.ids))


async def test_replicas_that_are_killed_publish_each_tick_of_each_monitor_under_one_id(
    fleet: Fleet, rabbitmq: RabbitMqTarget, rabbitmq_api: RabbitMqApi
) -> None:
    fleet.settings = settings_of(rabbitmq, CLAIM_BATCH="20", LEASE_TTL="2", LOG_LEVEL="info", METRICS_ADDR="off")
    await fleet.monitors(400, interval=YEAR_S)
    fleet.start()
    await until(lambda: all_are_rescheduled(fleet))
    ids = Counter(message["properties"]["message_id"] for message in rabbitmq_api.take(rabbitmq, "checks"))
    for _ in range(3):
        # All are due again; the replica is killed while it hands them off, and another takes over.
        due_ms = await now_ms(fleet)
        await fleet.redis.zadd(KEYS.due, dict.fromkeys(fleet.ids, due_ms), xx=True)
        await until(lambda now=due_ms: fleet.redis.zcount(KEYS.due, now + 1, "+inf"), "some are handed off")
        killed = fleet.started[-1].process.pid
        fleet.started[-1].kill()
        fleet.start()
        assert fleet.started[-1].process.pid != killed
        await until(lambda: all_are_rescheduled(fleet))
        ids.update(message["properties"]["message_id"] for message in rabbitmq_api.take(rabbitmq, "checks"))
    fleet.terminate()
    ticks = defaultdict(set)
    for message_id in ids:
        monitor_id, _, tick_ms = message_id.rpartition(":")
        ticks[monitor_id].add(tick_ms)
    assert set(ticks) == set(fleet.ids)
    assert {len(found) for found in ticks.values()} == {4}, "one id for each time that a monitor was due"
    assert not await fleet.redis.exists(KEYS.late)


async def test_a_broker_that_was_killed_gets_every_check_and_health_reports_it(
    fleet: Fleet, rabbitmq_node: RabbitMqServer, vhost_of_node: RabbitMqTarget
) -> None:
    fleet.settings = settings_of(vhost_of_node, LEASE_TTL="3", LOG_LEVEL="info", METRICS_ADDR="127.0.0.1:0")
    await fleet.monitors(50, interval=YEAR_S)
    replica = fleet.start()

    async def is_ready() -> bool:
        return (await replica.get("/readyz"))[0] == 200

    await until(lambda: all_are_rescheduled(fleet))
    await until(is_ready)
    await rabbitmq_node.flush()
    before = rabbitmq_node.pid
    rabbitmq_node.kill()
    due_ms = await now_ms(fleet)
    await fleet.redis.zadd(KEYS.due, dict.fromkeys(fleet.ids, due_ms), xx=True)

    async def is_unready() -> bool:
        status, body = await replica.get("/readyz")
        return status == 503 and "broker_unavailable" in json.loads(body)["reasons"]

    await until(is_unready)
    await until(lambda: "condition.raised" in replica.events(), "the next sample logs it")
    await rabbitmq_node.started()
    assert rabbitmq_node.pid != before
    await until(lambda: all_are_rescheduled(fleet))
    taken = rabbitmq_node.take(vhost_of_node, "checks")
    again = {message["properties"]["message_id"] for message in taken} & {f"{each}:{due_ms}" for each in fleet.ids}
    assert len(again) == 50
    await until(is_ready)
    fleet.terminate()


async def test_an_http_endpoint_gets_each_check_with_its_tick_as_idempotency_key(fleet: Fleet) -> None:
    seen: Counter[str] = Counter()
    fails = asyncio.Event()

    async def accept(request: web.Request) -> web.Response:
        assert request.headers["Content-Type"] == "application/json"
        payload = json.loads(await request.read())
        key = request.headers["Idempotency-Key"]
        assert key.rpartition(":")[0] == payload["monitor_id"]
        if not fails.is_set():  # the first request only
            fails.set()
            return web.Response(status=503)
        seen[key] += 1
        return web.Response(status=201)

    app = web.Application()
    app.router.add_post("/checks", accept)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    fleet.settings = {"BROKER": "http", "HTTP_URL": f"http://127.0.0.1:{runner.addresses[0][1]}/checks"}
    fleet.settings |= {"HTTP_RETRY_DELAY": "0.05", "METRICS_ADDR": "off"}
    await fleet.monitors(30, interval=YEAR_S)
    fleet.start()
    await until(lambda: all_are_rescheduled(fleet))
    fleet.terminate()
    await runner.cleanup()
    assert {key.rpartition(":")[0] for key in seen} == set(fleet.ids)
    assert set(seen.values()) == {1}
