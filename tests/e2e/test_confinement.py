"""A replica as the image and the manifests confine it: no root, no capability, no file to write; and what it opens."""

import ipaddress
import os
import shutil
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from peekaping_producer.settings import Settings
from tests.kit.commands import run
from tests.kit.consumer import at_work
from tests.kit.fleet import Fleet
from tests.kit.replicas import RUN, ReplicaProcess
from tests.kit.requirements import need
from tests.kit.waiting import until

UID = 10001
CONFINE = f"""
set -e
mount -o remount,bind,ro /
for place in /tmp /var/tmp /dev/shm "$PWD"; do
  mount --bind "$place" "$place"
  mount -o remount,bind,ro "$place"
done
cd "$PWD"
for place in . /tmp /var/tmp /dev/shm "$HOME"; do
  if touch "$place/written" 2>/dev/null; then echo "$place can be written"; exit 99; fi
done
exec unshare --user --map-user={UID} --map-group={UID} \
  setpriv --no-new-privs --inh-caps=-all -- "$@"
"""
"""In a mount namespace of its own, where any user may mount; then as a user without that right."""
CONFINED = ["unshare", "--mount", "--map-root-user", "sh", "-c", CONFINE, "confine"]
WHO = "import os; print(os.getuid(), os.getgid(), open('/proc/self/status').read())"


@pytest.fixture
def confined(tmp_path: Path) -> list[str]:
    """The words to put before a command, where this machine can do that."""
    need(sys.platform == "linux" and shutil.which("setpriv"), "unshare and setpriv: apt install util-linux")
    tried = subprocess.run(
        [*CONFINED, sys.executable, "-c", WHO], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    need(tried.returncode == 0, f"user and mount namespaces: {tried.stdout}{tried.stderr}")
    assert tried.stdout.startswith(f"{UID} {UID} ")
    assert "CapEff:\t0000000000000000" in tried.stdout
    assert "NoNewPrivs:\t1" in tried.stdout
    return CONFINED


async def test_a_replica_works_without_root_and_writes_nothing(confined: list[str], fleet: Fleet) -> None:
    folder = fleet.folder / "of-the-replica"
    folder.mkdir()
    await fleet.monitors(3)
    env = fleet.environment(METRICS_ADDR="127.0.0.1:0", LOG_LEVEL="info", HOME=str(folder))
    replica = ReplicaProcess(folder, env, log_folder=fleet.folder, argv=[*confined, *RUN])
    fleet.started.append(replica)
    async with at_work(fleet.consumer) as consumer:
        await until(lambda: len(consumer.ticks) > 5, "it works", within_s=60)
    assert consumer.monitors() == set(fleet.ids)
    assert replica.terminate() == 0
    assert {line["level"] for line in replica.lines() if line["event"] != "config.warning"} <= {"debug", "info"}
    for command in (["status"], ["migrate"], ["migrate", "--check"], ["check-config"]):
        ended = await run([*confined, *RUN[:-1], *command], env, folder)
        assert (ended.code, ended.err) == (int(command == ["status"]), ""), command  # no replica leads any more
    assert os.listdir(folder) == []


def test_probes_metrics_and_the_page_are_for_this_machine_by_default() -> None:
    for address in (Settings().metrics_address, Settings().ui_address):
        host, _ = address or ("", 0)
        assert ipaddress.ip_address(host).is_loopback


async def test_a_replica_listens_to_nothing_but_its_two_addresses(fleet: Fleet) -> None:
    need(sys.platform == "linux", "Linux, whose /proc shows the listening sockets")
    replica = fleet.start(METRICS_ADDR="127.0.0.1:0", UI_ADDR="127.0.0.1:0")
    both = ("health.listening", "ui.listening")
    await until(lambda: {"leader.won", *both} <= set(replica.events()), "it leads, and answers")
    ports = [replica.lines(event)[0]["port"] for event in both]
    assert listeners(replica.process.pid) == {("127.0.0.1", port) for port in ports}
    fleet.terminate()


def listeners(pid: int) -> set[tuple[str, int]]:
    """(address, port) of every TCP socket on which this process listens, IPv4 and IPv6."""
    links: list[str] = []
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # closed meanwhile
            links.append(os.readlink(descriptor))
    sockets = {link.removeprefix("socket:[").removesuffix("]") for link in links if link.startswith("socket:[")}
    found = set()
    for family, table in ((socket.AF_INET, "tcp"), (socket.AF_INET6, "tcp6")):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            _, local, _, state, *rest = line.split()
            if state == "0A" and rest[5] in sockets:
                address, port = local.split(":")
                found.add((_address(family, bytes.fromhex(address)), int(port, 16)))
    return found


def _address(family: socket.AddressFamily, words: bytes) -> str:
    """/proc shows each 32 bits as this machine's number."""
    swap = sys.byteorder == "little"
    parts = [words[at : at + 4] for at in range(0, len(words), 4)]
    return socket.inet_ntop(family, b"".join(part[::-1] if swap else part for part in parts))
