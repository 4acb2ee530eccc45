"""`reconcile`: what differs between the database and the schedule; with `--apply`, asks the leader to sync now."""

import argparse
from datetime import UTC

from peekaping_producer.cli.parser import Commands, seconds
from peekaping_producer.cli.runtime import log_warnings, login_name, print_found, run_interruptible, set_up_logs
from peekaping_producer.settings import SettingsGroup, load_settings

_GROUPS: frozenset[SettingsGroup] = frozenset({"redis", "database", "schedule", "broker"})


def add_to(commands: Commands) -> None:
    """Add the command of this module."""
    reconcile = commands.add(
        "reconcile",
        _reconcile,
        "print what a sync of the schedule with the database would change, or ask the leader to sync now",
        groups=_GROUPS,
        example="peekaping-producer reconcile --exit-code",
    )
    how = reconcile.add_mutually_exclusive_group()
    text = "print what a sync would change, and change nothing: the default; needs no replica"
    how.add_argument("--dry-run", action="store_true", help=text)
    how.add_argument("--exit-code", action="store_true", help="as --dry-run; exit 1 if anything differs")
    how.add_argument("--apply", action="store_true", help="ask the leader to sync now, and wait until it has")
    reconcile.add_argument("--all", action="store_true", help="list every difference, not three of each kind")
    text = "with --apply: how long to wait for the leader (default 60)"
    reconcile.add_argument("--timeout", type=seconds, default=60.0, metavar="SECONDS", help=text)
    text = "with --apply: who asks, for the events (default: the login name)"
    reconcile.add_argument("--by", type=str, default=None, metavar="NAME", help=text)
    reconcile.add_argument("--json", action="store_true", help="print JSON")
    reconcile.add_argument("--local", action="store_true", help="print times in the zone of this host, not in UTC")


def _reconcile(args: argparse.Namespace) -> int:
    return _request(args) if args.apply else _dry_run(args)


def _dry_run(args: argparse.Namespace) -> int:
    from peekaping_producer.operations.moments import Moments
    from peekaping_producer.operations.reconcile.document import dry_run_document
    from peekaping_producer.operations.reconcile.dry_run import dry_run
    from peekaping_producer.operations.reconcile.text import dry_run_lines

    settings = load_settings(_GROUPS, env_files=args.env_files)
    set_up_logs(settings)
    log_warnings(settings)
    run = run_interruptible(
        dry_run(
            settings.redis_target(),
            settings.database_target(),
            lease_ttl_s=settings.lease_ttl,
            with_queue=settings.uses_asynq,
            list_all=args.all,
        )
    )
    moments = Moments(run.look.now_ms, None if args.local else UTC)
    print_found(args, dry_run_document(run), dry_run_lines(run, moments))
    return int(args.exit_code and run.differs)


def _request(args: argparse.Namespace) -> int:
    from peekaping_producer.operations.reconcile.document import requested_document
    from peekaping_producer.operations.reconcile.request import request_sync
    from peekaping_producer.operations.reconcile.text import requested_lines

    settings = load_settings({"redis", "schedule"}, env_files=args.env_files)
    set_up_logs(settings)
    log_warnings(settings)
    requested = run_interruptible(
        request_sync(
            settings.redis_target(), args.by or login_name(), lease_ttl_s=settings.lease_ttl, wait_s=args.timeout
        )
    )
    print_found(args, requested_document(requested), requested_lines(requested))
    return int(not requested.is_synced)
