"""`run` and `migrate`: the producer, and the tables that it reads."""

import argparse
import asyncio
import os

from peekaping_producer import logs
from peekaping_producer.cli.parser import Commands
from peekaping_producer.cli.runtime import log_warnings, run_interruptible, set_up_logs
from peekaping_producer.errors import StartInterruptedError, TaskDiedError
from peekaping_producer.settings import PRODUCER_GROUPS, load_settings


def add_to(commands: Commands) -> None:
    """Add the commands of this module."""
    commands.add(
        "run",
        _run,
        "run one replica until SIGTERM, SIGHUP or Ctrl-C",
        groups=PRODUCER_GROUPS | {"rabbitmq", "http"},
        example="DB_TYPE=sqlite DB_NAME=peekaping.db REDIS_HOST=127.0.0.1 peekaping-producer run",
    )
    migrate = commands.add(
        "migrate",
        _migrate,
        "create the tables that the producer reads; write nothing if Peekaping's own tables exist",
        groups={"database", "startup"},
        example="DATABASE_URL=postgres://user:password@localhost/peekaping peekaping-producer migrate --check",
    )
    instead = migrate.add_mutually_exclusive_group()
    instead.add_argument("--check", action="store_true", help="only check: exit 1 if migrations are pending")
    instead.add_argument("--sql", action="store_true", help="only print the statements (MongoDB: commands)")


def _run(args: argparse.Namespace) -> int:
    import structlog

    from peekaping_producer.producer.wiring import build

    log = structlog.stdlib.get_logger()
    settings = load_settings(env_files=args.env_files)
    set_up_logs(settings)
    log_warnings(settings)

    async def run_replica() -> None:
        code = 0
        try:
            await build(settings).run()
        except StartInterruptedError:
            code = 130
        except TaskDiedError as error:
            log.critical("producer.died", message=f"The replica stops: {error}.", exc_info=error)
            code = 1
        # All is closed, but a driver's threads may still wait for a hung server and would keep the process alive.
        logs.drain()
        os._exit(code)

    asyncio.run(run_replica())
    return 0


def _migrate(args: argparse.Namespace) -> int:
    from peekaping_producer.migrate import inspect, migrate, scripts
    from peekaping_producer.service.startup import Startup

    settings = load_settings({"database", "startup"}, env_files=args.env_files)
    set_up_logs(settings)
    log_warnings(settings)
    target = settings.database_target()
    startup = Startup(settings.startup_timeout)
    if not (args.check or args.sql):
        print(f"{target}: {run_interruptible(startup.reach('The database', lambda: migrate(target)))}")
        return 0
    state = run_interruptible(startup.reach("The database", lambda: inspect(target)))
    if args.check:
        print(f"{target}: {state}")
        return 1 if state.missing else 0
    print("\n".join(scripts(target, state)), end="")
    return 0
