"""`relay`, `serve` and `consume`: messages from a file, a clock or HTTP to a broker, and from there to a handler."""

import argparse
import asyncio
import gc
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from peekaping_producer import logs
from peekaping_producer.cli.parser import Commands, seconds
from peekaping_producer.cli.runtime import log_warnings, print_error, set_up_logs
from peekaping_producer.errors import ProducerError
from peekaping_producer.settings import Settings, SettingsGroup, load_settings

if TYPE_CHECKING:
    from peekaping_producer.pipeline.service import MessageService

_EVERY_S = 60.0
_CLOCK = "clock"
_OPTIONS = {"file": ("path", "checkpoint", "dead_letters"), "clock": ("every", "name")}
"""The options of each source of `relay`."""
_NEW_OBJECTS = 10_000
_GROUPS: frozenset[SettingsGroup] = frozenset({"messages", "broker", "service"})


def add_to(commands: Commands) -> None:
    """Add the commands of this module."""
    _add_relay(commands)
    commands.add(
        "serve",
        _serve,
        "accept messages over HTTP and send them to a broker, until SIGTERM, SIGHUP or Ctrl-C",
        groups=_GROUPS | {"api", "rabbitmq", "redis", "http"},
        options=True,
        example="RABBITMQ_HOST=127.0.0.1 PORT=5000 peekaping-producer serve",
    )
    _add_consume(commands)


def _add_relay(commands: Commands) -> None:
    relay = commands.add(
        "relay",
        _relay,
        "send the lines of a file, or the ticks of a clock, to a broker until SIGTERM, SIGHUP or Ctrl-C",
        groups=_GROUPS | {"rabbitmq", "redis", "http"},
        options=True,
        example="RABBITMQ_HOST=127.0.0.1 peekaping-producer relay --from file --path input.txt",
    )
    relay.add_argument(
        "--from",
        required=True,
        choices=("file", "clock"),
        dest="source",
        help="what to send: the lines of a file, or the ticks of a clock",
    )
    relay.add_argument("--path", type=Path, metavar="FILE", help="the file to follow; it need not exist yet")
    relay.add_argument(
        "--checkpoint",
        type=Path,
        metavar="FILE",
        help="where the position in the file is stored (default: PATH.checkpoint)",
    )
    relay.add_argument(
        "--dead-letters", type=Path, metavar="FILE", help="where refused lines are stored (default: PATH.dead-letters)"
    )
    relay.add_argument(
        "--every", type=seconds, metavar="SECONDS", help=f"the interval of the clock (default {_EVERY_S:g})"
    )
    relay.add_argument("--name", metavar="NAME", help=f"the prefix of the clock's message ids (default {_CLOCK})")


def _add_consume(commands: Commands) -> None:
    consume = commands.add(
        "consume",
        _consume,
        "receive messages until SIGTERM, SIGHUP or Ctrl-C, and pass each to a handler or write it to a file",
        groups=_GROUPS | {"consume", "rabbitmq", "redis"},
        options=True,
        example="RABBITMQ_HOST=127.0.0.1 peekaping-producer consume --to-file output.txt --dedup",
    )
    to = consume.add_mutually_exclusive_group(required=True)
    to.add_argument("--handler", metavar="MODULE:FUNCTION", help="call this function with each message")
    to.add_argument("--to-file", type=Path, metavar="FILE", help="append each message as a line")
    to.add_argument("--to-stdout", action="store_true", help="print each message as a line")
    consume.add_argument(
        "--dedup", action="store_true", help="with --to-file: write each message once, even after a kill"
    )


def _relay(args: argparse.Namespace) -> int:
    from peekaping_producer.pipeline import wiring

    def build(settings: Settings) -> "MessageService":
        if args.source == "clock":
            return wiring.relay_from_clock(settings, args.name or _CLOCK, args.every or _EVERY_S)
        return wiring.relay_from_file(settings, args.path, checkpoint=args.checkpoint, dead_letters=args.dead_letters)

    if args.source == "file" and args.path is None:
        print_error("--path: expected a file with --from file, got nothing; see peekaping-producer relay --help")
        return 2
    for source, names in _OPTIONS.items():
        for name in names:
            if source != args.source and getattr(args, name) is not None:
                option = f"--{name.replace('_', '-')}"
                print_error(f"{option}: requires --from {source}; see peekaping-producer relay --help")
                return 2
    return _run(args, build)


def _serve(args: argparse.Namespace) -> int:
    from peekaping_producer.pipeline import wiring

    return _run(args, wiring.serve_api, _GROUPS | {"api"})


def _consume(args: argparse.Namespace) -> int:
    from peekaping_producer.pipeline import wiring

    def build(settings: Settings) -> "MessageService":
        if args.handler is not None:
            return wiring.consume_with_handler(settings, args.handler)
        if args.to_stdout:
            return wiring.consume_to_stdout(settings)
        return wiring.consume_to_file(settings, args.to_file, dedup=args.dedup)

    if args.dedup and not args.to_file:
        print_error("--dedup: requires --to-file; see peekaping-producer consume --help")
        return 2
    return _run(args, build, _GROUPS | {"consume"})


def _run(
    args: argparse.Namespace,
    build: Callable[[Settings], "MessageService"],
    groups: frozenset[SettingsGroup] = _GROUPS,
) -> int:
    settings = load_settings(groups, environ={**os.environ, **args.settings}, env_files=args.env_files)
    set_up_logs(settings)
    log_warnings(settings)

    async def run() -> None:
        service = build(settings)
        _collect_less_often()
        code = 0
        try:
            await service.run()
        except ProducerError:
            raise  # main() prints it
        except Exception as error:  # a bug: logged, and the process ends below although a thread hangs
            sys.excepthook(type(error), error, error.__traceback__)
            code = 1
        # A handler's thread may still be at work, and would keep the process alive.
        logs.drain()
        os._exit(code)

    asyncio.run(run())
    return 0


def _collect_less_often() -> None:
    """Look for cyclic garbage after 10,000 new objects instead of 700, and not in modules.

    1,000 messages at the same time are some 10,000 objects, none of them in a cycle: this saves a fifth of the CPU.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_NEW_OBJECTS, 20, 20)
