"""`top`: the fleet in a terminal."""

import argparse
import signal

from peekaping_producer.cli.parser import Commands
from peekaping_producer.cli.runtime import log_warnings, print_error, run_interruptible, set_up_logs
from peekaping_producer.settings import SettingsGroup, load_settings

_GROUPS: frozenset[SettingsGroup] = frozenset({"redis", "schedule", "broker"})


def add_to(commands: Commands) -> None:
    """Add the command of this module."""
    commands.add(
        "top",
        _top,
        "show the fleet in the terminal, redrawn every 2 s; without a terminal, print a line every 3 s",
        groups=_GROUPS,
        example="REDIS_HOST=127.0.0.1 peekaping-producer top",
    )


def _top(args: argparse.Namespace) -> int:
    from peekaping_producer.cli import terminal
    from peekaping_producer.cli.live import LiveScreen, opened_reader, print_lines

    settings = load_settings(_GROUPS, env_files=args.env_files)
    set_up_logs(settings)
    log_warnings(settings)
    shown = terminal.Terminal() if terminal.is_usable() else None

    def on_signal(number: signal.Signals) -> None:
        if shown:
            shown.leave()
        print_error(f"ended by {number.name}")

    async def work() -> None:
        async with opened_reader(settings) as reader:
            if shown:
                await LiveScreen(shown, reader, args.env_files).run()
            else:
                await print_lines(reader)

    run_interruptible(work(), on_signal)
    return 0
