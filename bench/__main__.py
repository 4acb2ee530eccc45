"""Measure each row of docs/performance.md by a scenario.

    python -m bench [SCENARIO ...] [--list] [--quick] [--rounds N] [--json FILE] [--go-producer PATH]
                    [--flush-given-servers]

Starts a Redis-compatible server and a database for each scenario, or uses BENCH_REDIS_URL and BENCH_DATABASE_URL: both
must be empty (or --flush-given-servers), and are left empty.
The result is checked before a figure counts. Compare figures of one run only, since machines are noisy: bench.compare
measures two checkouts in turn. Exit code 1 if a required value is missed or a result was wrong.
"""

import argparse
import asyncio
import os
import platform
import shlex
import sys
from pathlib import Path

import msgspec

from bench.figures import Figure, Report
from bench.harness import harness
from bench.options import Options
from bench.scenarios import DEFAULT, FURTHER
from bench.servers import OPTIONS
from bench.table import table

OF_QUICK = 5000


def main() -> int:
    """Run the scenarios, print the table, write the report."""
    args = _arguments()
    scenarios = DEFAULT | FURTHER
    if args.list:
        for name in scenarios:
            print(f"{name:16}{_purpose(name)}")
        return 0
    options = Options(
        rounds=args.rounds or (1 if args.quick else 3),
        monitors=args.monitors or (OF_QUICK if args.quick else None),
        messages=args.messages or (OF_QUICK if args.quick else None),
        batch=args.batch,
        concurrency=args.concurrency,
        replicas=args.replicas,
        go_producer=args.go_producer and args.go_producer.resolve(),
        flush_given_servers=args.flush_given_servers,
    )
    if args.quick:
        print("quick: this only checks that the bench works; its figures are meaningless")
    command = shlex.join(["python", "-m", "bench", *sys.argv[1:]])
    machine = f"{platform.machine()}, {os.cpu_count()} CPUs, Python {platform.python_version()}, {args.store}"
    report = Report(command, machine, [])
    for name in args.scenario or DEFAULT:
        print(f"\n{name}: {_purpose(name)}", flush=True)
        try:
            measured = asyncio.run(_measure(name, options, args.store))
        except AssertionError as error:
            report.wrong[name] = str(error)
            print(f"WRONG, its figures do not count: {error}")
        else:
            print(table(measured), flush=True)
            report.figures.extend(measured)
        if args.json:  # after each: a run that is cut off keeps what it has
            report.write(args.json)
    if len(args.scenario or DEFAULT) > 1:
        print(f"\n{table(report.figures)}")
        print("".join(f"{name} was WRONG: {why}\n" for name, why in report.wrong.items()), end="")
    missed = not args.quick and any(figure.reaches(figure.required) is False for figure in report.figures)
    return int(bool(report.wrong) or missed)


async def _measure(name: str, options: Options, store: str) -> list[Figure]:
    async with harness(store, flush_given_servers=options.flush_given_servers) as here:
        figures = await (DEFAULT | FURTHER)[name](here, options)
    if store == "postgres":
        return figures
    return [msgspec.structs.replace(each, required=None, target=None) for each in figures]  # bounds of Postgres


def _purpose(name: str) -> str:
    module = sys.modules[f"bench.scenarios.{name}"]
    return (module.__doc__ or "").splitlines()[0]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("scenario", nargs="*", metavar="SCENARIO", help=f"{', '.join(DEFAULT | FURTHER)}")
    parser.add_argument("--list", action="store_true", help="print what each scenario measures")
    parser.add_argument("--quick", action="store_true", help=f"one round, {OF_QUICK:,} of all, no required values")
    parser.add_argument("--rounds", type=_count, help="rounds of each scenario (3)")
    parser.add_argument("--monitors", type=_count, help="number of monitors, in place of the scenario's own")
    parser.add_argument("--messages", type=_count, help="number of messages, in place of the scenario's own")
    parser.add_argument("--batch", type=_count, default=500, help="CLAIM_BATCH (500)")
    parser.add_argument("--concurrency", type=_count, default=10, help="PRODUCER_CONCURRENCY (10)")
    parser.add_argument("--replicas", type=_count, default=1, help="replicas in the scenario throughput (1)")
    parser.add_argument("--store", choices=list(OPTIONS), default="postgres")
    parser.add_argument("--go-producer", type=Path, metavar="PATH", help="the Go producer, to compare with")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the report to FILE")
    parser.add_argument(
        "--flush-given-servers", action="store_true", help="delete all data in BENCH_REDIS_URL and BENCH_DATABASE_URL"
    )
    args = parser.parse_args()
    if unknown := [each for each in args.scenario if each not in DEFAULT | FURTHER]:
        parser.error(f"SCENARIO: expected one of {', '.join(DEFAULT | FURTHER)}, got {', '.join(unknown)}")
    if args.go_producer and not os.access(args.go_producer, os.X_OK):
        parser.error(f"--go-producer: expected an executable file, got {args.go_producer}")
    if args.go_producer and args.store != "postgres":
        parser.error(f"--go-producer: expected --store postgres, got --store {args.store}")
    return args


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number from 1, got {text!r}")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
