"""The file source in a process that is killed while lines flow and the file is rotated."""

import signal
import subprocess
import sys
from pathlib import Path

from tests.kit.waiting import until

BATCH = 20
MAX_UNSETTLED = 40
LINES = 1500
KILLS = 3
PROGRAM = f"""
import asyncio, os, sys
from pathlib import Path
from peekaping_producer.messages.relay import Relay
from peekaping_producer.messages.sources.file import FileSource
from peekaping_producer.metrics import Metrics
from peekaping_producer.service.dependencies import Dependencies
from peekaping_producer.transports.publisher import PublishResult

class FilePublisher:
    async def open(self):
        self.fd = os.open(sys.argv[2], os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    async def publish(self, messages):
        os.write(self.fd, b"".join(message.id.encode() + b" " + message.body + b"\\n" for message in messages))
        await asyncio.sleep(0.005)
        return PublishResult(len(messages))

    async def close(self):
        pass

async def main():
    dependencies = Dependencies(Metrics())
    relay = Relay(FilePublisher(), dependencies, batch_messages={BATCH})
    path = Path(sys.argv[1])
    source = FileSource(
        path, relay, dependencies, batch_lines={BATCH}, max_unsettled={MAX_UNSETTLED}, rotate_wait_s=0.05
    )
    await asyncio.gather(relay.run(), source.run())

asyncio.run(main())
"""


def rotate(path: Path) -> None:
    for number in range(KILLS, 0, -1):
        old = path.with_name(f"{path.name}.{number}")
        if old.exists():
            old.rename(path.with_name(f"{path.name}.{number + 1}"))
    path.rename(path.with_name(f"{path.name}.1"))


def published(output: Path) -> list[tuple[str, int]]:
    """Id and number of each line."""
    lines = output.read_bytes().split(b"\n")[:-1] if output.exists() else []
    return [(line.split()[0].decode(), int(line.split()[1])) for line in lines]


async def test_kills_lose_nothing_and_repeat_only_what_was_not_settled(tmp_path: Path) -> None:
    path, output = tmp_path / "input.txt", tmp_path / "output.txt"
    pids = set()

    def start() -> subprocess.Popen[bytes]:
        process = subprocess.Popen([sys.executable, "-c", PROGRAM, path, output], stderr=subprocess.DEVNULL)
        pids.add(process.pid)
        return process

    process = start()
    written = 0

    def write(count: int) -> None:
        nonlocal written
        with path.open("ab") as file:
            file.write(b"".join(b"%d\n" % number for number in range(written, written + count)))
        written += count

    async def until_published(count: int) -> None:
        await until(lambda: len({number for _, number in published(output)}) >= count)

    try:
        for kill in range(1, KILLS + 1):
            write(LINES // KILLS // 2)
            await until_published((kill - 1) * LINES // KILLS + LINES // KILLS // 4)
            process.send_signal(signal.SIGKILL)
            assert process.wait() == -signal.SIGKILL
            rotate(path)
            write(LINES // KILLS // 2)
            process = start()
        await until_published(LINES)
    finally:
        process.kill()
        process.wait()
    assert len(pids) == KILLS + 1
    lines = published(output)
    assert list(dict.fromkeys(number for _, number in lines)) == list(range(LINES))
    assert len(lines) - LINES <= KILLS * MAX_UNSETTLED
    assert len(set(lines)) == LINES, "a line that is repeated keeps its id"
