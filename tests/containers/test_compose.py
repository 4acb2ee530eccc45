"""docker-compose.yml in containers: built, started, used as documented, its leader killed, and stopped in order."""

import asyncio
import json
import re
import subprocess

import pytest
from redis.asyncio import Redis

from peekaping_producer.schedule.keys import KEYS
from tests.containers.compose import HERE, ROOT, Stack, docker, inspected
from tests.containers.conftest import REDIS_PASSWORD, wait_until_healthy
from tests.kit.consumer import Consumer, at_work
from tests.kit.waiting import until, wait_until

pytestmark = pytest.mark.timeout(600)
MONITORS = 20
INSERT = f"""
INSERT INTO monitors (id, type, name, interval, timeout, max_retries, retry_interval, resend_interval, config)
SELECT gen_random_uuid(), 'http', 'monitor ' || n, 1, 16, 0, 60, 0, '{{"url": "http://example.com"}}'
FROM generate_series(1, {MONITORS}) n RETURNING id;
"""


def documented(first_words: str) -> str:
    """The command of docs/deployment.md that begins so; a line that ends with a quotation goes on."""
    text = (ROOT / "docs" / "deployment.md").read_text()
    (found,) = re.findall(rf"^    ({re.escape(first_words)}.*(?:\n    .+)*)", text, flags=re.MULTILINE)
    return str(found).replace("\n    ", "\n")


def documented_compose(stack: Stack, first_words: str) -> str:
    """Run such a command for the stack of the test, in a shell as the reader does."""
    command = documented(first_words).removeprefix("docker compose exec")
    script = f'docker compose "$@" exec --no-TTY {command}'
    done = subprocess.run(
        ["sh", "-c", script, "sh", *stack.options], env=stack.env, capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_both_replicas_are_healthy_by_the_cheap_probe(stack: Stack) -> None:
    assert [inspected(each)["State"]["ExitCode"] for each in stack.containers("migrate")] == [0]
    for replica in stack.containers("producer"):
        health = inspected(replica)["State"]["Health"]["Log"][-1]
        assert health["Output"].strip() == 'http://0.0.0.0:9464/livez: 200 {"alive": true, "stalled": []}'
        assert "probe.py" in " ".join(inspected(replica)["Config"]["Healthcheck"]["Test"])


def test_a_replica_is_confined(stack: Stack) -> None:
    replica = stack.containers("producer")[0]
    host = inspected(replica)["HostConfig"]
    assert (host["ReadonlyRootfs"], host["CapDrop"], host["Privileged"]) == (True, ["ALL"], False)
    status = docker("exec", replica, "cat", "/proc/1/status")
    assert re.search(r"^Uid:\t10001\t10001\t10001\t10001$", status, flags=re.MULTILINE)
    assert re.search(r"^CapEff:\t0+$", status, flags=re.MULTILINE)
    assert re.search(r"^NoNewPrivs:\t1$", status, flags=re.MULTILINE)
    for folder, written in {"/": False, "/app": False, "/opt/peekaping-producer": False, "/tmp": True}.items():
        done = subprocess.run(
            ["docker", "exec", replica, "touch", f"{folder}/written"], capture_output=True, check=False
        )
        assert (done.returncode == 0) is written, folder


def test_the_image_adds_little_to_its_base(stack: Stack, report: list[str]) -> None:
    image = f"peekaping-producer:{stack.tag}"
    base = next(
        line.split()[1] for line in (ROOT / "deploy/Dockerfile").read_text().splitlines() if line.startswith("FROM")
    )
    sizes = [inspected(each)["Size"] / 1e6 for each in (image, base)]
    layers = [len(inspected(each)["RootFS"]["Layers"]) for each in (image, base)]
    added = sizes[0] - sizes[1]
    report.append(
        f"image: {sizes[0]:.0f} MB in {layers[0]} layers; {added:.0f} MB in {layers[0] - layers[1]} above {base}"
    )
    assert added < 100
    assert layers[0] - layers[1] <= 2  # the environment with the program, and the working directory


def test_the_health_check_costs_less_than_a_tenth_of_an_idle_replica(stack: Stack, report: list[str]) -> None:
    replica = stack.containers("producer")[0]
    configured = inspected(f"peekaping-producer:{stack.tag}")["Config"]["Healthcheck"]
    seconds, interval_s = 20, configured["Interval"] / 1e9
    argv = ["exec", "--interactive", replica, "python", "-", str(seconds), *configured["Test"][1:]]
    measured = json.loads(docker(*argv, stdin=(HERE / "measure.py").read_text()))
    idle, check = measured["idle_s"] / seconds, measured["check_s"] / interval_s
    report.append(
        f"CPU: an idle replica {idle:.3%} of a core, its health check {check:.3%}"
        f" ({measured['check_s'] * 1e3:.1f} ms every {interval_s:.0f} s)"
    )
    assert check < idle / 10


def test_the_documented_commands_work(stack: Stack) -> None:
    assert documented_compose(stack, "docker compose exec postgres psql").strip() == "INSERT 0 1"

    def status() -> str:
        return documented_compose(stack, "docker compose exec producer peek")

    wait_until(lambda: "queue       1 pending" in status(), "a task is pending", within_s=120, every_s=0.5)
    assert "leader      " in status()
    stack.sql("DELETE FROM monitors")


async def test_the_leader_is_killed_and_no_tick_is_done_twice(stack: Stack) -> None:
    host, _, port = stack.compose("port", "redis", "6379").strip().rpartition(":")
    async with Redis(host=host, port=int(port), password=REDIS_PASSWORD) as redis:
        await redis.delete(*[key async for key in redis.scan_iter("asynq:*")])  # the task of the test before
        ids = set(re.findall(r"[0-9a-f-]{36}", await asyncio.to_thread(stack.sql, INSERT)))
        assert len(ids) == MONITORS
        async with at_work(Consumer(redis)) as consumer:
            await until(lambda: ticks_of_each(consumer, ids) >= 3, "all are handed off")
            leader = (await leading(redis))[:12]
            killed = next(each for each in stack.containers("producer") if each.startswith(leader))
            await asyncio.to_thread(docker, "kill", killed)
            await until(lambda: another_leads(redis, leader), "another leads")  # the key lasts 10 s
            before = ticks_of_each(consumer, ids)
            await until(lambda: ticks_of_each(consumer, ids) >= before + 3, "the other hands all of them off")
        assert consumer.duplicated() == []
        assert consumer.monitors() == ids
    await asyncio.to_thread(docker, "start", killed)
    await asyncio.to_thread(wait_until_healthy, stack)


def ticks_of_each(consumer: Consumer, ids: set[str]) -> int:
    """How many ticks the monitor that had the fewest has had."""
    return min(map(consumer.count, ids))


async def leading(redis: Redis) -> str:
    """The hostname of the replica that leads, which is its container's id; "" where none does."""
    term = await redis.get(KEYS.leader)
    return term.decode().split("-")[0] if term else ""


async def another_leads(redis: Redis, former: str) -> bool:
    return await leading(redis) not in {"", former}


def test_a_stop_drains_both_within_the_grace_period(stack: Stack) -> None:
    replicas = stack.containers("producer")
    wait_until_healthy(stack)
    stack.compose("stop")  # a replica that exceeds the grace period is killed: its exit code is 137
    for replica in replicas:
        state = inspected(replica)["State"]
        assert (state["Status"], state["ExitCode"], state["OOMKilled"]) == ("exited", 0, False)
        messages = [line["message"] for line in stack.lines(replica)]
        assert messages.count("Shutdown signal received, stopping producer...") == 1
        assert messages[-1] == "Producer stopped gracefully"
    stack.compose("start")
    wait_until_healthy(stack)
