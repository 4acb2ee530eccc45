"""`demo`: two replicas on embedded servers."""

import argparse
import asyncio

from peekaping_producer.cli.parser import Commands, seconds
from peekaping_producer.settings import load_settings


def add_to(commands: Commands) -> None:
    """Add the command of this module."""
    demo = commands.add(
        "demo",
        _demo,
        "run two replicas on embedded servers, and kill the leader; if no Redis server can be started, "
        "use the Redis at REDIS_URL, which must be empty",
        names=["REDIS_URL"],
        example="peekaping-producer demo --seconds 60",
    )
    demo.add_argument("--seconds", type=seconds, default=30.0, help="how long, from 5 to 86400 (default 30)")


def _demo(args: argparse.Namespace) -> int:
    from peekaping_producer.demo import embedded, run_demo

    given = None
    if not embedded.is_available():  # otherwise nothing is read: this shell's Redis may be in production
        settings = load_settings({"redis"}, env_files=args.env_files)
        given = settings if settings.redis_url or settings.redis_sentinels else None
    return asyncio.run(run_demo(args.seconds, redis=given))
