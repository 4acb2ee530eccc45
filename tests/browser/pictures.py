"""Takes the pictures of the README: `make pictures`, which lasts three minutes and writes docs/images.

Replicas, Redis, workers and page are real; the hosts and the monitors are made up, and a check is a pause.
"""

import asyncio
import random
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from playwright.async_api import Browser, async_playwright, expect

from peekaping_producer.brokers.asynq_keys import QUEUE
from peekaping_producer.demo import embedded
from peekaping_producer.metrics import Metrics
from peekaping_producer.migrate import migrate
from peekaping_producer.service.dependencies import Dependencies
from peekaping_producer.targets import DatabaseTarget, RedisTarget
from peekaping_producer.transports.asynq.delivery import AsynqDelivery
from peekaping_producer.transports.asynq.receiver import AsynqReceiver
from tests.kit.browser import chromium_process, opened
from tests.kit.databases import SqliteDatabase, monitor_row, sqlite_target
from tests.kit.processes import HOST, free_port
from tests.kit.replicas import ReplicaProcess, environment, replicas
from tests.kit.waiting import until

IMAGES = Path(__file__).parents[2] / "docs" / "images"
NAMES = ("checkout", "payments", "search", "login", "mail gateway", "status page", "api", "cdn", "dns", "reports")
CITIES = ("Oslo", "Lima", "Osaka", "Turin", "Perth", "Quito", "Lagos", "Hanoi", "Bergen", "Porto")
INTERVALS_S = (20, 30, 60, 60, 60, 60, 120, 300)
MONITORS = 6000
SLOTS = 512
FILLS_WITHIN_S = 100
"""The chart of a minute has then no trace of the start, when all monitors were due at once."""
SECOND = 25
"""Of a minute: the last full minute is on one side of the chart, the next on the other."""
HEIGHTS = {"fleet": 1060, "monitor": 900}
MAX_BYTES = 150_000
_TOKEN = secrets.token_urlsafe(16)
_REDUCE = ("pngquant", "--force", "--strip", "--speed=1", "--ext=.png", "256")
_AS_HOST = "import socket, sys; host = sys.argv.pop(1); socket.gethostname = lambda: host; "
_PRODUCER = _AS_HOST + "from peekaping_producer.cli.entry import main; sys.exit(main())"


async def work(host: str, port: int) -> None:
    """A worker: receives checks from Redis, and completes each after a while."""
    socket.gethostname = lambda: host
    receiver = AsynqReceiver(RedisTarget(host=HOST, port=port), {QUEUE: 1}, dependencies=Dependencies(Metrics()))
    await receiver.open()
    running: set[asyncio.Task[None]] = set()

    async def check(delivery: AsynqDelivery) -> None:
        await asyncio.sleep(random.uniform(0.1, 0.6))
        await receiver.acknowledge([delivery])

    while True:
        for delivery in await receiver.receive(SLOTS - len(running)):
            task = asyncio.create_task(check(delivery))
            running.add(task)
            task.add_done_callback(running.discard)
        while len(running) >= SLOTS:
            await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)


@contextmanager
def workers(port: int) -> Iterator[None]:
    """Two workers, until the end of the block."""
    hosts = ("worker-1", "worker-2")
    running = [subprocess.Popen([sys.executable, "-m", __spec__.name, host, str(port)]) for host in hosts]
    try:
        yield
    finally:
        for worker in running:
            worker.kill()
            worker.wait()


async def fill(target: DatabaseTarget) -> str:
    """Insert the monitors; returns the id of one that has heartbeats."""
    await migrate(target)
    database = await SqliteDatabase.connect(target)
    rows = [
        monitor_row(
            database.new_id(),
            interval=INTERVALS_S[n % len(INTERVALS_S)],
            name=f"{NAMES[n % len(NAMES)]} · {CITIES[n // len(NAMES) % len(CITIES)]} {n // 100 + 1}",
        )
        for n in range(MONITORS)
    ]
    shown = rows[21] | {"name": "payments · 3-D Secure", "interval": 60}
    await database.insert("monitors", *rows[:21], shown, *rows[22:])
    minute = datetime.now(UTC).replace(second=0, microsecond=220_000)
    ticks = [minute + timedelta(minutes=n) for n in range(-15, 3)]
    beats = [
        database.heartbeat(
            shown, time=f"{tick:%Y-%m-%d %H:%M:%S.%f}"[:-3], ping=204 + n % 13, status=0 if n in {9, 10} else 1
        )
        for n, tick in enumerate(ticks)
    ]
    await database.insert("heartbeats", *beats)
    await database.close()
    return str(shown["id"])


async def take(browser: Browser, url: str, name: str, *, dark: bool) -> None:
    """Save one picture, with 256 colors."""
    async with opened(browser, url, dark=dark, height=HEIGHTS[name]) as (page, errors):
        await page.get_by_label("Token").fill(_TOKEN)
        await page.keyboard.press("Enter")
        await expect(page.locator("#link")).to_have_text("live")
        await expect(page.locator(".verdict")).to_be_visible()
        path = IMAGES / f"{name}-{'dark' if dark else 'light'}.png"
        await page.screenshot(path=path)
        assert errors == []
    reducing = await asyncio.create_subprocess_exec(*_REDUCE, path)
    assert await reducing.wait() == 0
    print(f"{path.relative_to(Path.cwd())}: {path.stat().st_size:,} bytes")
    assert path.stat().st_size <= MAX_BYTES


async def main(folder: Path) -> None:
    """Start everything, wait until the charts are filled, take the pictures."""
    target = sqlite_target(folder)
    shown = await fill(target)
    address = f"{HOST}:{free_port()}"
    async with embedded.redis_server() as redis:
        env = environment(redis.port, target, LEASE_TTL="10", UI_TOKEN=_TOKEN)
        with workers(redis.port), chromium_process() as chromium, replicas(folder) as started:
            for host in ("vm-a", "vm-b", "vm-c"):
                settings = env | {"UI_ADDR": address if host == "vm-a" else "off"}
                started.append(ReplicaProcess(folder, settings, argv=[sys.executable, "-c", _PRODUCER, host, "run"]))
            await until(lambda: bool(started[0].lines("ui.listening")))
            print(f"Pictures in {FILLS_WITHIN_S} to {FILLS_WITHIN_S + 60} s; meanwhile: http://{address}/")
            await asyncio.sleep(FILLS_WITHIN_S)
            await until(lambda: int(time.time()) % 60 == SECOND, within_s=70)
            async with async_playwright() as playwright:
                browser = await playwright.chromium.connect_over_cdp(chromium)
                for dark in (False, True):
                    await take(browser, f"http://{address}/", "fleet", dark=dark)
                    await take(browser, f"http://{address}/monitors/{shown}", "monitor", dark=dark)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        asyncio.run(work(sys.argv[1], int(sys.argv[2])))
    elif not shutil.which("pngquant"):
        sys.exit("pngquant: not found; install it (Debian: apt install pngquant)")
    else:
        IMAGES.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory() as name:
            asyncio.run(main(Path(name)))
