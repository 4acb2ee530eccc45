"""`events`: what replicas did, and what changed."""

import argparse
import json
from datetime import UTC

from peekaping_producer.cli.parser import Commands, duration, text_of
from peekaping_producer.cli.runtime import log_warnings, print_error, print_lines, run_interruptible, set_up_logs
from peekaping_producer.settings import SettingsGroup, load_settings
from peekaping_producer.targets import RedisTarget

_GROUPS: frozenset[SettingsGroup] = frozenset({"redis"})
_LATEST = 10
_MAX_ID = 64
"""Characters."""
"""Events that --follow prints first."""


def add_to(commands: Commands) -> None:
    """Add the command of this module."""
    events = commands.add(
        "events",
        _events,
        "print what replicas did and what changed, the oldest first; Redis keeps about the latest 1,000 events",
        groups=_GROUPS,
        example="peekaping-producer events --since 1h",
    )
    text = "only events within this time before now, such as 90s, 10m, 1h or 2d"
    events.add_argument("--since", type=duration("3650d"), metavar="DURATION", help=text)
    text = "only events about the monitor with this id, or with an id that begins with it"
    events.add_argument("--monitor", type=text_of(_MAX_ID), metavar="ID", help=text)
    text = f"go on printing new events until Ctrl-C; without --since, begin with the latest {_LATEST}"
    events.add_argument("--follow", action="store_true", help=text)
    text = "print JSON: one document, or with --follow one object per line"
    events.add_argument("--json", action="store_true", help=text)
    events.add_argument("--local", action="store_true", help="print times in the zone of this host, not in UTC")


def _events(args: argparse.Namespace) -> int:
    settings = load_settings(_GROUPS, env_files=args.env_files)
    set_up_logs(settings)
    log_warnings(settings)
    run_interruptible(_print_events(args, settings.redis_target()))
    return 0


async def _print_events(args: argparse.Namespace, target: RedisTarget) -> None:
    from peekaping_producer.operations.event_reader import VERSION, EventReader, ReadEvent, follow
    from peekaping_producer.operations.moments import Moments
    from peekaping_producer.operations.opened import opened_schedule

    def print_one(read: ReadEvent) -> None:
        moments = Moments(reader.now_ms, None if args.local else UTC)
        document = {"version": VERSION, **read.as_json(moments)}
        if args.json:
            print(json.dumps(document), flush=args.follow)
        else:
            print_lines([read.line(moments)], flush=args.follow)

    async with opened_schedule(target) as schedule:
        reader = EventReader(schedule, monitor=args.monitor or "")
        found = sorted(await reader.read(), key=lambda read: read.event.at_ms)  # replicas write theirs seconds later
        if args.since is not None:
            found = [read for read in found if read.event.at_ms >= reader.now_ms - 1000 * args.since]
        elif args.follow:
            found = found[-_LATEST:]
        if args.json and not args.follow:
            moments = Moments(reader.now_ms)
            events = [read.as_json(moments) for read in found]
            print(json.dumps({"version": VERSION, "at": moments.iso(reader.now_ms), "events": events}))
            return
        for read in found:
            print_one(read)
        if not args.follow:
            if not found:
                hint = "; --monitor expects an id, or its beginning" if args.monitor else ""
                print_error(f"no {'such ' if args.since or args.monitor else ''}event is recorded{hint}")
            return
        async for read in follow(reader, print_error):
            print_one(read)
