"""`run-now`, `hold` and `release`: what a person may do to the schedule."""

import argparse
import socket
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from peekaping_producer.cli.parser import Commands, Parser, duration, text_of
from peekaping_producer.cli.runtime import (
    log_warnings,
    login_name,
    print_failure,
    print_found,
    run_interruptible,
    set_up_logs,
)
from peekaping_producer.errors import ActError
from peekaping_producer.settings import Settings, SettingsGroup, load_settings

if TYPE_CHECKING:
    from peekaping_producer.operations.acts import Actor, ActResult, Acts

_GROUPS: frozenset[SettingsGroup] = frozenset({"redis", "database", "schedule", "broker"})
_MAX_NAME, _MAX_WHO, _MAX_WHY = 300, 64, 200
"""Characters; of the last two as operations.acts.model, which is imported later, since that takes time."""


def add_to(commands: Commands) -> None:
    """Add the commands of this module."""
    text = "check monitors now, besides their regular checks; exit 1 if one of them cannot be"
    run_now = commands.add(
        "run-now", _run_now, text, groups=_GROUPS, example="peekaping-producer run-now 3f0d --because 'repaired it'"
    )
    _add_monitors(run_now, "+")
    text = "hand off no checks of some monitors, or of all, for some time; exit 1 if one of them is not held; "
    text += "without a monitor, print the current holds"
    hold = commands.add(
        "hold", _hold, text, groups=_GROUPS, example="peekaping-producer hold 3f0d --for 30m --because 'disk swap'"
    )
    _add_monitors(hold, "*")
    hold.add_argument("--all", action="store_true", help="hold all monitors, for up to 1 h; not with a Go producer")
    text = "for how long, such as 10m (units s, m, h, d): up to 7d, by default 1h; with --all up to 1h, by default 15m"
    hold.add_argument("--for", dest="for_text", metavar="DURATION", help=text)
    text = "end holds before their time; each monitor is due at its next tick"
    release = commands.add("release", _release, text, groups=_GROUPS, example="peekaping-producer release --all")
    _add_monitors(release, "*")
    text = "end the hold on all monitors; holds on single monitors remain"
    release.add_argument("--all", action="store_true", help=text)
    for command in (run_now, hold, release):
        needed = command is hold
        why = text_of(_MAX_WHY, may_be_empty=not needed)
        text = "why, for the fleet events" + (" (required)" if needed else "")
        command.add_argument("--because", type=why, default=None if needed else "", metavar="TEXT", help=text)
        command.add_argument("--by", type=text_of(_MAX_WHO), metavar="NAME", help="who asks (default: the login name)")
        command.add_argument("--json", action="store_true", help="print JSON")


def _add_monitors(command: Parser, count: str) -> None:
    text = "the id, the first four or more characters of it, or parts of the name in any order"
    command.add_argument("monitors", type=text_of(_MAX_NAME), metavar="MONITOR", nargs=count, help=text)


def _run_now(args: argparse.Namespace) -> int:
    return _act_on_monitors(args, "run_now", lambda acts, ids: acts.run_now(ids, _actor(args), args.because))


def _hold(args: argparse.Namespace) -> int:
    if not (args.monitors or args.all or args.because or args.by or args.for_text):
        return _list_holds(args)
    if not _names_monitors_or_all(args, "hold"):
        return 2
    if not args.because:
        print_failure(args, "hold: --because: expected a value, got none; see peekaping-producer hold --help")
        return 2
    options = {} if args.for_text is None else {"for_s": _hold_s(args)}
    if args.all:
        return _act_on_all(args, "hold_all", lambda acts: acts.hold_all(_actor(args), args.because, **options))
    return _act_on_monitors(args, "hold", lambda acts, ids: acts.hold(ids, _actor(args), args.because, **options))


def _list_holds(args: argparse.Namespace) -> int:
    from peekaping_producer.operations.acts.holds import holds_document, holds_lines, read_holds
    from peekaping_producer.operations.moments import Moments

    settings = _settings(args)
    found = run_interruptible(read_holds(settings.redis_target(), settings.database_target()))
    print_found(args, holds_document(found), holds_lines(found, Moments(found.now_ms)))
    return 0


def _hold_s(args: argparse.Namespace) -> int:
    """The seconds of --for. Raises ActError."""
    try:
        return duration("1h" if args.all else "7d")(args.for_text)
    except argparse.ArgumentTypeError as error:
        raise ActError(f"--for: {error}") from None


def _release(args: argparse.Namespace) -> int:
    if not _names_monitors_or_all(args, "release"):
        return 2
    if args.all:
        return _act_on_all(args, "release_all", lambda acts: acts.release_all(_actor(args), args.because))
    return _act_on_monitors(args, "release", lambda acts, ids: acts.release(ids, _actor(args), args.because))


def _names_monitors_or_all(args: argparse.Namespace, command: str) -> bool:
    if bool(args.monitors) is not args.all:
        return True
    got = "both" if args.all else "neither"
    see = f"see peekaping-producer {command} --help"
    print_failure(args, f"{command}: MONITOR: expected monitors or --all, got {got}; {see}")
    return False


def _actor(args: argparse.Namespace) -> "Actor":
    from peekaping_producer.operations.acts import Actor

    return Actor(args.by if args.by is not None else login_name(), f"command line on {socket.gethostname()[:40]}")


def _act_on_monitors(
    args: argparse.Namespace, act: str, call: "Callable[[Acts, list[str]], Awaitable[ActResult]]"
) -> int:
    from peekaping_producer.operations.acts.named import act_on_named
    from peekaping_producer.operations.acts.text import named_document, named_lines

    settings = _settings(args)
    acted = run_interruptible(
        act_on_named(
            args.monitors,
            call,
            settings.redis_target(),
            settings.database_target(),
            lease_ttl_s=settings.lease_ttl,
            with_queue=settings.uses_asynq,
        )
    )
    print_found(args, named_document(act, acted), named_lines(acted))
    return acted.exit_code


def _act_on_all(args: argparse.Namespace, act: str, call: "Callable[[Acts], Awaitable[ActResult]]") -> int:
    from peekaping_producer.operations.acts.named import acting
    from peekaping_producer.operations.acts.text import result_document, result_lines
    from peekaping_producer.stores import store_for

    settings = _settings(args)
    store = store_for(settings.database_target(), connections=1)  # not opened: the act does not need it

    async def perform() -> "ActResult":
        async with acting(settings.redis_target(), store, lease_ttl_s=settings.lease_ttl, with_queue=False) as acts:
            return await call(acts)

    result = run_interruptible(perform())
    print_found(args, result_document(act, result), result_lines(result))
    return int(not result.done)


def _settings(args: argparse.Namespace) -> Settings:
    settings = load_settings(_GROUPS, env_files=args.env_files)
    set_up_logs(settings, "warning")  # the answer is on stdout, and the event in Redis
    log_warnings(settings)
    return settings
