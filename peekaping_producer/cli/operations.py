"""`status`, `probe` and `check-config`: the state of the fleet, of one replica, and of the settings."""

import argparse

from peekaping_producer.cli import acts, doctor, events, explain, reconcile, top
from peekaping_producer.cli.parser import Commands, duration, seconds
from peekaping_producer.cli.runtime import log_warnings, print_error, print_found, run_interruptible, set_up_logs
from peekaping_producer.errors import ConfigError
from peekaping_producer.operations import probe
from peekaping_producer.settings import PRODUCER_GROUPS, Settings, SettingsGroup, inspect_settings, load_settings
from peekaping_producer.settings.table import as_text

_GROUPS_OF_BROKERS: dict[str, set[SettingsGroup]] = {"rabbitmq": {"rabbitmq"}, "http": {"http"}}


def add_to(commands: Commands) -> None:
    """Add the commands of this module."""
    status = commands.add(
        "status",
        _status,
        "print leader, sizes of queue and schedule, lateness, conditions; exit 1 if checks do not run as they should",
        groups={"redis", "schedule", "broker"},
        example="REDIS_HOST=127.0.0.1 peekaping-producer status --json",
    )
    status.add_argument(
        "--max-overdue-seconds",
        type=seconds,
        metavar="SECONDS",
        help="exit 1 for lateness only if a monitor is overdue by more than this (default: whenever checks are late)",
    )
    text = "also print how many monitors will be due within this time, such as 90s, 10m or 1h (at most 1d)"
    status.add_argument("--next", type=duration("1d"), metavar="DURATION", dest="next_s", help=text)
    status.add_argument("--json", action="store_true", help="print JSON")
    explain.add_to(commands)
    acts.add_to(commands)
    events.add_to(commands)
    top.add_to(commands)
    doctor.add_to(commands)
    reconcile.add_to(commands)
    probe_parser = commands.add(
        "probe",
        _probe,
        "check the liveness of the replica on this host (GET /livez at METRICS_ADDR); exit 1 if it fails",
        names=["METRICS_ADDR"],
        example="METRICS_ADDR=:9464 peekaping-producer probe --ready",
    )
    probe_parser.add_argument("--ready", action="store_true", help="check readiness (GET /readyz) instead")
    check = commands.add(
        "check-config",
        _check_config,
        "print every setting, its origin, and every problem with the settings",
        groups=PRODUCER_GROUPS,
        example="peekaping-producer --env-file production.env check-config --connect",
    )
    check.add_argument("--connect", action="store_true", help="also try Redis and the database; exit 3 if one fails")


def _status(args: argparse.Namespace) -> int:
    from peekaping_producer.operations.status import fetch_status

    settings = load_settings({"redis", "schedule", "broker"}, env_files=args.env_files)
    set_up_logs(settings)
    log_warnings(settings)
    status = run_interruptible(
        fetch_status(
            settings.redis_target(),
            lease_ttl_s=settings.lease_ttl,
            max_overdue_s=args.max_overdue_seconds,
            with_queue=settings.uses_asynq,
            next_s=args.next_s,
        )
    )
    print_found(args, status.as_json(), status.lines())
    return 1 if status.is_failing else 0


def _probe(args: argparse.Namespace) -> int:
    return probe.main(["--ready"] if args.ready else [], [str(path) for path in args.env_files])


def _check_config(args: argparse.Namespace) -> int:
    from peekaping_producer.stores import store_for

    settings, problems = inspect_settings(env_files=args.env_files)
    print(as_text(settings, PRODUCER_GROUPS | _GROUPS_OF_BROKERS.get(settings.broker or "", set())), flush=True)
    for warning in settings.warnings:
        print_error(warning)
    if problems:
        raise ConfigError(problems)
    store_for(settings.database_target(), connections=1)  # raises for parameters that the store does not support
    return _try_connections(settings) if args.connect else 0


def _try_connections(settings: Settings) -> int:
    from peekaping_producer.operations.connectivity import try_connections

    set_up_logs(settings, "info")  # for the login that was accepted
    results = run_interruptible(try_connections(settings.redis_target(), settings.database_target()))
    for result in results:
        print(result)
    return 0 if all(result.ok for result in results) else 3
