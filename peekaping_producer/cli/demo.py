"""`demo` and `demo-queue`: the real program on an embedded server."""

import argparse
import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from peekaping_producer.cli.parser import Commands, seconds
from peekaping_producer.settings import Settings, load_settings

_REDIS = "if no Redis server can be started, use the Redis at REDIS_URL, which must be empty"


def add_to(commands: Commands) -> None:
    """Add the commands of this module."""
    _add(commands, "demo", _demo, "run two replicas on embedded servers, and kill the leader", 86_400)
    text = "send lines and HTTP messages through an embedded queue, and kill the relay and the API"
    _add(commands, "demo-queue", _demo_queue, text, 3600)


def _add(commands: Commands, name: str, call: Callable[[argparse.Namespace], int], text: str, longest: int) -> None:
    example = f"peekaping-producer {name} --seconds 60"
    demo = commands.add(name, call, f"{text}; {_REDIS}", names=["REDIS_URL"], example=example)
    demo.add_argument("--seconds", type=seconds, default=30.0, help=f"how long, from 5 to {longest} (default 30)")


def _demo(args: argparse.Namespace) -> int:
    from peekaping_producer.demo import monitors

    return _run(args, monitors.run_demo)


def _demo_queue(args: argparse.Namespace) -> int:
    from peekaping_producer.demo import messages

    return _run(args, messages.run_demo)


def _run(args: argparse.Namespace, run_demo: Callable[..., Coroutine[Any, Any, int]]) -> int:
    from peekaping_producer.demo import embedded

    given: Settings | None = None
    if not embedded.is_available():  # otherwise nothing is read: this shell's Redis may be in production
        settings = load_settings({"redis"}, env_files=args.env_files)
        given = settings if settings.redis_url or settings.redis_sentinels else None
    return asyncio.run(run_demo(args.seconds, redis=given))
