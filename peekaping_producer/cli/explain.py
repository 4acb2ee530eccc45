"""`explain`: why a monitor is checked or not."""

import argparse
import os
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from peekaping_producer.cli.parser import Commands, text_of
from peekaping_producer.cli.runtime import log_warnings, print_failure, print_found, run_interruptible, set_up_logs
from peekaping_producer.errors import ConfigError
from peekaping_producer.settings import Settings, SettingsGroup, load_settings

if TYPE_CHECKING:
    from peekaping_producer.operations.explain.reading import Explained

_GROUPS: frozenset[SettingsGroup] = frozenset({"redis", "database", "schedule", "broker"})
_MAX_NAME = 300
"""Characters."""


def add_to(commands: Commands) -> None:
    """Add the command of this module."""
    explain = commands.add(
        "explain",
        _explain,
        "print why a monitor is checked or not, and when it is next; exit 1 if it is not checked as configured",
        groups=_GROUPS,
        example="peekaping-producer explain 3f0d5a9e",
    )
    text = "the id, the first four or more characters of it, or parts of the name in any order"
    explain.add_argument("monitor", type=text_of(_MAX_NAME), metavar="MONITOR", nargs="?", help=text)
    text = "instead of one monitor, list all active ones without a heartbeat in three intervals"
    explain.add_argument("--silent", action="store_true", help=text)
    explain.add_argument("--json", action="store_true", help="print JSON")
    explain.add_argument("--local", action="store_true", help="print times in the zone of this host, not in UTC")


def _explain(args: argparse.Namespace) -> int:
    if (args.monitor is None) is not args.silent:
        got = "both" if args.silent else "neither"
        print_failure(
            args, f"explain: MONITOR: expected a monitor or --silent, got {got}; see peekaping-producer explain --help"
        )
        return 2
    settings = load_settings(_GROUPS, env_files=args.env_files)
    set_up_logs(settings)
    log_warnings(settings)
    return _list_silent(args, settings) if args.silent else _explain_one(args, settings)


def _explain_one(args: argparse.Namespace, settings: Settings) -> int:
    from peekaping_producer.operations.explain.document import candidates_document, document_of
    from peekaping_producer.operations.explain.text import candidate_lines, lines_of
    from peekaping_producer.operations.explain.verdict import verdict_of
    from peekaping_producer.operations.moments import Moments

    explained = run_interruptible(_read(args.monitor, settings))
    if found := explained.candidates:
        away = explained.database_error
        print_found(args, candidates_document(found, away), candidate_lines(args.monitor, found, away))
        return 2
    facts = explained.facts
    if facts is None:
        print_failure(args, explained.problem)
        return explained.exit_code
    moments = Moments(facts.now_ms, None if args.local else UTC)
    verdict = verdict_of(facts, moments)
    color = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    print_found(args, document_of(facts, verdict), lines_of(facts, verdict, moments, settings.tz, color=color))
    return explained.exit_code or int(not verdict.is_healthy)


async def explanation_lines(monitor: str, env_files: Sequence[Path]) -> list[str]:
    """Return what `explain` prints, in UTC and without colors; also an error is text."""
    from peekaping_producer.operations.explain.text import candidate_lines, lines_of
    from peekaping_producer.operations.explain.verdict import verdict_of
    from peekaping_producer.operations.moments import Moments

    try:
        settings = load_settings(_GROUPS, env_files=env_files)
        explained = await _read(monitor, settings)
    except ConfigError as error:
        return list(error.problems)
    if explained.candidates:
        return candidate_lines(monitor, explained.candidates, explained.database_error)
    if explained.facts is None:
        return [explained.problem]
    moments = Moments(explained.facts.now_ms)
    return lines_of(explained.facts, verdict_of(explained.facts, moments), moments, settings.tz)


async def _read(monitor: str, settings: Settings) -> "Explained":
    from peekaping_producer.operations.explain.reading import explain

    return await explain(
        monitor,
        settings.redis_target(),
        settings.database_target(),
        lease_ttl_s=settings.lease_ttl,
        server_zone=settings.tz,
        with_queue=settings.uses_asynq,
    )


def _list_silent(args: argparse.Namespace, settings: Settings) -> int:
    from peekaping_producer.operations.explain.silent import read_silent, silent_document, silent_lines
    from peekaping_producer.operations.moments import Moments

    found = run_interruptible(read_silent(settings.database_target(), datetime.now(UTC)))
    moments = Moments(int(found.now.timestamp() * 1000), None if args.local else UTC)
    print_found(args, silent_document(found), silent_lines(found, moments))
    return int(found.silent > 0)
