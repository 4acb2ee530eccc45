"""Inject faults around real replicas, one at a time, and check that no tick is lost and none is duplicated.

    python -m tests.chaos --minutes 30 --seed 7 [--only NAME] [--json FILE] [--keep FOLDER]

Starts a Redis-compatible server, a Postgres, three replicas behind proxies, a consumer and an editor of monitors;
requires the packages of `make test`. Ends with a table, and with exit code 1 where an invariant of docs/reliability.md
was broken or a fault did not take effect.
"""

import argparse
import asyncio
import json
import random
import shlex
import shutil
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path

from tests.chaos import report
from tests.chaos.checker import check
from tests.chaos.faults import FAULTS, Fault
from tests.chaos.history import Recorder, read
from tests.chaos.run import Course, run
from tests.chaos.timing import LONG, SHORT

MONITORS = 2000
HISTORY = "history.jsonl"


def main() -> int:
    """Run, check, print."""
    args = _arguments()
    timing = SHORT if args.short else LONG
    faults = [each for each in FAULTS if _wanted(each, args)]
    if not faults:
        print(
            f"--only: expected a part of a fault's name, got {args.only}; the faults are:",
            *(f.name for f in FAULTS),
            sep="\n  ",
        )
        return 2
    folder = Path(args.keep or tempfile.mkdtemp(prefix="peekaping-chaos-"))
    folder.mkdir(parents=True, exist_ok=True)
    lines = folder / HISTORY
    course = Course(faults, args.seed, args.minutes * 60, args.monitors, timing)
    say(f"seed {args.seed}, {len(faults)} faults, at least {args.minutes:g} minutes; history in {lines}")
    began_at = time.monotonic()
    with Recorder(lines) as recorder:
        missed = asyncio.run(run(course, folder, recorder, say))
    result = check(read(lines), lease_ttl_s=timing.lease_ttl_s, sync_s=timing.sync_s)
    took_min = round((time.monotonic() - began_at) / 60, 1)
    print(f"\n{report.table(result, faults, missed)}\n")
    for violation in result.violations:
        print(violation)
    print(f"{took_min} minutes, seed {args.seed}: {result.summary()}")
    if args.json:
        details = {"seed": args.seed, "minutes": took_min, "monitors": args.monitors}
        command = shlex.join(["python", "-m", "tests.chaos", *sys.argv[1:]])
        args.json.write_text(json.dumps(report.document(result, faults, missed, command=command, **details), indent=1))
    bad = bool(result.violations or missed)
    if bad or args.keep:
        print(f"The history and the replicas' logs are in {folder}")
    else:
        shutil.rmtree(folder)
    return int(bad)


def say(text: str) -> None:
    """A line of progress."""
    print(f"{datetime.now():%H:%M:%S}  {text}", flush=True)


def _wanted(fault: Fault, args: argparse.Namespace) -> bool:
    if args.only:
        return any(each.lower() in fault.name.lower() for each in args.only)
    return fault.short or not args.short


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.chaos", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=30, help="length, but every fault comes once (30)")
    parser.add_argument(
        "--seed",
        type=int,
        default=random.randrange(1_000_000),
        help="seed of the order and of random choices (printed)",
    )
    parser.add_argument("--monitors", type=int, default=MONITORS, help=f"number of monitors ({MONITORS})")
    parser.add_argument(
        "--only", action="append", metavar="NAME", help="only faults with this in their name; repeatable"
    )
    parser.add_argument("--short", action="store_true", help="the faults and lengths of `make faults`")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the report to FILE")
    parser.add_argument("--keep", type=_without_history, metavar="FOLDER", help="keep history and logs in FOLDER")
    return parser.parse_args()


def _without_history(text: str) -> Path:
    """A folder without the history of an earlier run, which would be overwritten."""
    if (Path(text) / HISTORY).exists():
        raise argparse.ArgumentTypeError(f"expected a folder without {HISTORY}, got {text}")
    return Path(text)


if __name__ == "__main__":
    sys.exit(main())
