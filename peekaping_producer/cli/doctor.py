"""`doctor`: examine Redis, the database, the fleet and the workers."""

import argparse
import json
import os
import shutil
import sys

from peekaping_producer.cli.parser import Commands
from peekaping_producer.cli.runtime import log_warnings, run_interruptible, set_up_logs
from peekaping_producer.settings import SettingsGroup, load_settings

_GROUPS = ("redis", "database", "fleet", "workers")
_SETTINGS: frozenset[SettingsGroup] = frozenset({"redis", "database", "schedule", "broker"})


def add_to(commands: Commands) -> None:
    """Add the command of this module."""
    doctor = commands.add(
        "doctor",
        _doctor,
        "examine Redis, the database, the fleet and the workers, with a remedy for each finding; exit 1 for a problem",
        groups=_SETTINGS,
        example="peekaping-producer doctor --only redis,workers",
    )
    text = f"examine only these groups: {', '.join(_GROUPS)}, separated by commas"
    doctor.add_argument("--only", type=_groups, default=_GROUPS, metavar="GROUPS", help=text)
    doctor.add_argument("--json", action="store_true", help="print JSON")


def _groups(text: str) -> tuple[str, ...]:
    """Names of groups. Raises ArgumentTypeError."""
    given = [name.strip() for name in text.split(",")]
    if unknown := next((name for name in given if name not in _GROUPS), None):
        raise argparse.ArgumentTypeError(f"expected some of {', '.join(_GROUPS)}, got {unknown!r}")
    if "" in given:
        raise argparse.ArgumentTypeError(f"expected some of {', '.join(_GROUPS)}, got {text!r}")
    return tuple(given)


def _doctor(args: argparse.Namespace) -> int:
    from peekaping_producer.operations.doctor.examination import examine
    from peekaping_producer.operations.doctor.report import document_of, lines_of

    needs_redis, needs_database = set(args.only) != {"database"}, "database" in args.only
    unneeded = {name for name, needed in (("redis", needs_redis), ("database", needs_database)) if not needed}
    settings = load_settings(_SETTINGS - unneeded, env_files=args.env_files)
    set_up_logs(settings)
    log_warnings(settings)
    examination = run_interruptible(
        examine(
            settings.redis_target() if needs_redis else None,
            settings.database_target() if needs_database else None,
            only=args.only,
            lease_ttl_s=settings.lease_ttl,
            server_zone=settings.tz,
            broker=settings.broker or "asynq",
        )
    )
    if args.json:
        print(json.dumps(document_of(examination)))
        return examination.exit_code
    is_terminal = sys.stdout.isatty()
    width = shutil.get_terminal_size().columns if is_terminal else 0
    print("\n".join(lines_of(examination, color=is_terminal and not os.environ.get("NO_COLOR"), width=width)))
    return examination.exit_code
