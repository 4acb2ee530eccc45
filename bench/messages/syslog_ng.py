"""syslog-ng with its amqp module, which publishes without confirmations: from a file to a queue."""

import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from bench.harness import Process, reaches
from bench.messages.commands import BenchFile
from bench.messages.rabbitmq import BenchBroker
from tests.kit import processes

MISSING = "not installed: apt-get install syslog-ng-core syslog-ng-mod-amqp"
_PATH = "/usr/sbin:/usr/local/sbin:/usr/bin"
_CONFIG = """\
@version: {version}
options {{ keep-hostname(yes); stats-freq(0); }};
source s_file {{ file("{path}" follow-freq(0.1) flags(no-parse) log-fetch-limit(500) log-iw-size(5000)); }};
destination d_amqp {{
  amqp(
    host("{host}") port({port}) vhost("/") username("{user}") password("{password}")
    exchange("") exchange-declare(no) exchange-type("direct") routing-key("{queue}")
    body("$MESSAGE") persistent(yes) value-pairs(key("MSGID"))
  );
}};
log {{ source(s_file); destination(d_amqp); flags(flow-control); }};
"""


def version() -> str | None:
    """Major and minor number; None without syslog-ng or its amqp module."""
    binary = shutil.which("syslog-ng", path=_PATH)
    if binary is None:
        return None
    about = subprocess.run([binary, "--version"], capture_output=True, text=True, check=False).stdout
    modules = next((line for line in about.splitlines() if line.startswith("Available-Modules:")), "")
    if "afamqp" not in modules:
        return None
    found = next(line for line in about.splitlines() if line.startswith("Config version:"))
    return found.partition(":")[2].strip()


@asynccontextmanager
async def syslog_ng(broker: BenchBroker) -> AsyncIterator[tuple[Process, BenchFile]]:
    """A process that forwards a new file; its first line is in the queue. It is killed at the end of the block."""
    target = broker.target
    with processes.directory("peekaping-bench-") as directory:
        file, config = BenchFile(directory / "input.txt"), directory / "syslog-ng.conf"
        config.write_text(
            _CONFIG.format(
                version=version(),
                path=file.path,
                host=target.host,
                port=target.port,
                user=target.user,
                password=target.password,
                queue=target.queue,
            )
        )
        process = _start(directory, config)
        try:
            file.append(1)
            await in_queue(broker, process, file)
            yield process, file
        finally:
            process.kill()
            process.wait()


async def in_queue(broker: BenchBroker, process: Process, file: BenchFile) -> None:
    """Wait until all lines of the file are in the queue."""
    await reaches(file.lines, broker.ready, "lines in the queue", [process])


def _start(directory: Path, config: Path) -> Process:
    options = ("-R", directory / "persist", "-p", directory / "pid", "-c", directory / "control")
    binary = shutil.which("syslog-ng", path=_PATH)
    assert binary is not None
    argv = [binary, "-F", "--no-caps", "-f", config, *options]
    with (directory / "log").open("wb") as log:
        return subprocess.Popen(argv, cwd=directory, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT)
