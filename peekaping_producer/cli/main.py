"""The commands: parse, call, print. Nothing here decides anything, but for the exit code."""

import argparse
import asyncio
import errno
import json
import math
import os
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import version

import structlog

from peekaping_producer import logs
from peekaping_producer.errors import (
    ConfigError,
    ProducerError,
    StartInterruptedError,
    TaskDiedError,
    UnreachableError,
)
from peekaping_producer.operations import probe
from peekaping_producer.service.startup import Startup
from peekaping_producer.settings import Settings, inspect_settings, load_settings
from peekaping_producer.settings.table import as_text
from peekaping_producer.stores import store_for

log = structlog.stdlib.get_logger()

EXIT_CODES = """exit codes:
  0  a clean stop (SIGTERM or SIGHUP, at any time; Ctrl-C of a replica at work), or what was asked is done
  1  anything that is not below
  2  bad configuration: every bad setting is named
  3  Redis or the database could not be reached within STARTUP_TIMEOUT
130  interrupted before there was anything to stop
"""
_OF_STDOUT = (errno.EPIPE, errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF)
"""How writing to stdout fails; whatever else the commands call has errors of its own."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code. A user's mistake gets a line, never a traceback."""
    logs.unblock_stderr()
    parser = _parser()
    args = parser.parse_args(argv)
    if args.command is None:
        parser.print_help(sys.stderr)
        parser.exit(2, f"{parser.prog}: expected a COMMAND, got none; begin with `demo`, or `check-config` and `run`\n")
    try:
        code: int = args.command(args)
        sys.stdout.flush()
    except ConfigError as error:
        for problem in error.problems:
            _complain(problem)
        return 2
    except UnreachableError as error:
        _complain(str(error))
        return 3
    except ProducerError as error:
        _complain(str(error))
        return 1
    except KeyboardInterrupt:
        return 130
    except OSError as error:
        if error.errno not in _OF_STDOUT:
            raise
        if error.errno != errno.EPIPE:  # as in `status | head`
            _complain(f"cannot write to stdout: {error.strerror}")
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # at exit Python flushes once more
        return 1
    return code


def _complain(problem: str) -> None:
    print(f"peekaping-producer: {problem}", file=sys.stderr)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="peekaping-producer",
        description="Decides when each Peekaping monitor is due and queues its check for the workers.",
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {version('peekaping-producer')}")
    parser.set_defaults(command=None)
    commands = parser.add_subparsers(metavar="COMMAND")

    def command(name: str, call: Callable[[argparse.Namespace], int], text: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
        added.set_defaults(command=call)
        return added

    command("run", _run, "run one replica of the service until SIGTERM, SIGHUP or Ctrl-C")
    demo = command("demo", _demo, "show two replicas at work on embedded servers, and one of them killed")
    demo.add_argument("--seconds", type=_seconds, default=30.0, help="how long, from 5 to 86400 (default 30)")
    migrate = command(
        "migrate", _migrate, "create the tables this service reads; writes nothing where Peekaping's own exist"
    )
    instead = migrate.add_mutually_exclusive_group()
    instead.add_argument("--check", action="store_true", help="only look; exit 1 when the database is behind")
    instead.add_argument("--sql", action="store_true", help="only print what would be run (for MongoDB: commands)")
    status = command(
        "status", _status, "print leader, depths, lateness and what is wrong; exit 1 when checks do not happen"
    )
    status.add_argument("--max-overdue-seconds", type=_seconds, default=60.0, help="what is too long (default 60)")
    status.add_argument("--json", action="store_true", help="print JSON")
    asking = command("probe", _probe, "ask the replica on this host whether it is alive: GET /livez at METRICS_ADDR")
    asking.add_argument("--ready", action="store_true", help="ask whether it is ready instead: GET /readyz")
    check = command("check-config", _check_config, "print every setting, where it came from, and what is wrong")
    check.add_argument("--connect", action="store_true", help="also try Redis and the database; exit 3 if one fails")
    return parser


def _seconds(text: str) -> float:
    """A duration that an option takes. Raises ArgumentTypeError."""
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 < seconds < math.inf:
        raise argparse.ArgumentTypeError(f"expected a positive number of seconds, got {text!r}")
    return seconds


def _run(_args: argparse.Namespace) -> int:
    from peekaping_producer.producer.wiring import build

    settings = load_settings()
    _set_up_logs(settings)

    async def life() -> None:
        code = 0
        try:
            await build(settings).run()
        except StartInterruptedError:
            code = 130
        except TaskDiedError as error:
            log.critical("producer.died", message=f"The replica stops: {error}.", exc_info=error)
            code = 1
        # All is closed. Threads and tasks of a driver that still waits for a hung server would hold the process up.
        logs.drain()
        os._exit(code)

    asyncio.run(life())
    return 0


def _demo(args: argparse.Namespace) -> int:
    from peekaping_producer.demo import embedded, run_demo

    given = None
    if not embedded.is_available():  # otherwise nothing is read: this shell's Redis may be one in production
        settings = load_settings({"redis"})
        given = settings if settings.redis_url or settings.redis_sentinels else None
    return asyncio.run(run_demo(args.seconds, redis=given))


def _migrate(args: argparse.Namespace) -> int:
    from peekaping_producer.migrate import look, migrate, scripts

    settings = load_settings({"database"})
    _set_up_logs(settings)
    target = settings.database_target()
    startup = Startup(settings.startup_timeout)
    if not (args.check or args.sql):
        print(f"{target}: {asyncio.run(startup.reach('The database', lambda: migrate(target)))}")
        return 0
    standing = asyncio.run(startup.reach("The database", lambda: look(target)))
    if args.check:
        print(f"{target}: {standing}")
        return 1 if standing.missing else 0
    print("\n".join(scripts(target, standing)), end="")
    return 0


def _status(args: argparse.Namespace) -> int:
    from peekaping_producer.operations.status import fetch_status

    settings = load_settings({"redis"})
    _set_up_logs(settings)
    status = asyncio.run(
        fetch_status(settings.redis_target(), lease_ttl_s=settings.lease_ttl, late_after_s=args.max_overdue_seconds)
    )
    print(json.dumps(status.as_json()) if args.json else "\n".join(status.lines()))
    return 1 if status.is_failing else 0


def _probe(args: argparse.Namespace) -> int:
    return probe.main(["--ready"] if args.ready else [])


def _check_config(args: argparse.Namespace) -> int:
    settings, problems = inspect_settings()
    print(as_text(settings), flush=True)
    for warning in settings.warnings:
        _complain(warning)
    if problems:
        raise ConfigError(problems)
    store_for(settings.database_target(), connections=1)  # refuses what has no store; nothing is connected yet
    return _try_connections(settings) if args.connect else 0


def _try_connections(settings: Settings) -> int:
    from peekaping_producer.operations.connectivity import attempts

    logs.configure(settings.mode, "info", settings.service_name, settings.secrets)  # which login worked, for one
    made = asyncio.run(attempts(settings.redis_target(), settings.database_target()))
    for attempt in made:
        print(attempt)
    return 0 if all(attempt.worked for attempt in made) else 3


def _set_up_logs(settings: Settings) -> None:
    logs.configure(settings.mode, settings.log_level, settings.service_name, settings.secrets)
    for warning in settings.warnings:
        log.warning("config.warning", message=warning)
