"""RabbitMQ's own load generator, PerfTest, as a consumer."""

import asyncio
import re
import shutil
from pathlib import Path

from bench.messages.rabbitmq import BenchBroker

VERSION = "2.22.1"
MISSING = f"not installed: mvn dependency:get -Dartifact=com.rabbitmq:perf-test:{VERSION}"
_REPOSITORY = Path.home() / ".m2" / "repository"
_MAIN = "com.rabbitmq.perf.PerfTest"
_PREFETCH, _ACKNOWLEDGE_EVERY = 1000, 500
_WITHIN_S = 120.0


def is_installed() -> bool:
    """Whether Java is, and Maven's repository contains PerfTest."""
    return bool(shutil.which("java")) and bool(list(_REPOSITORY.glob(f"com/rabbitmq/perf-test/{VERSION}/*.jar")))


async def consume_rate(broker: BenchBroker, count: int) -> float:
    """Messages per second of one consumer that takes all `count` messages of the queue."""
    jars = ":".join(map(str, _REPOSITORY.rglob("*.jar")))
    options = ["-x", "0", "-y", "1", "-p", "-u", broker.target.queue, "-D", str(count)]
    options += ["-q", str(_PREFETCH), "-A", str(_ACKNOWLEDGE_EVERY)]
    process = await asyncio.create_subprocess_exec(
        *("java", "-cp", jars, _MAIN, "-h", broker.url, *options),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        async with asyncio.timeout(_WITHIN_S):
            output = (await process.communicate())[0].decode()
    except TimeoutError:
        raise AssertionError(f"PerfTest did not receive {count:,} messages within {_WITHIN_S:g} s") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    left = await broker.ready()
    assert left == 0, f"PerfTest left {left:,} messages"
    return average(output)


def average(output: str) -> float:
    """The rate that PerfTest prints at its end."""
    found = re.search(r"receiving rate avg: (\d+) msg/s", output)
    assert found, f"PerfTest printed no average:\n{output[-1000:]}"
    return float(found[1])
