"""`send`: the time to an API, once, for a scheduled job."""

import argparse
import logging
import signal

from peekaping_producer.cli.parser import Commands, whole_number
from peekaping_producer.cli.runtime import run_interruptible
from peekaping_producer.settings import load_settings
from peekaping_producer.settings.groups import command_names

log = logging.getLogger(__name__)

_NOT_USED = ("MODE", "SERVICE_NAME")
"""Of every command's settings: these log lines have one form."""


def add_to(commands: Commands) -> None:
    """Add the command of this module."""
    send = commands.add(
        "send",
        _send,
        "post the time to an API, with retries, and exit: 0 also if the API does not accept it",
        names=[name for name in command_names({"send"}) if name not in _NOT_USED],
        example="API_URL=http://localhost:3000 ENVIRONMENT=test peekaping-producer send --strict",
    )
    send.add_argument("--strict", action="store_true", help="exit 1 if a message was not sent")
    send.add_argument(
        "--count",
        type=whole_number,
        default=1,
        metavar="N",
        help="send N messages, each in a request of its own, over one connection (default 1)",
    )


def _send(args: argparse.Namespace) -> int:
    from peekaping_producer.sender.log import configure
    from peekaping_producer.sender.run import log_configuration, run
    from peekaping_producer.sender.sender import Sender

    settings = load_settings({"send"}, env_files=args.env_files)
    configure(settings.log_level, settings.log_file, settings.secrets)
    log_configuration(settings)
    sender = Sender(settings.api_target(), settings.environment)

    def log_end(number: signal.Signals) -> None:
        log.warning("Ended by %s: %d of %d messages sent", number.name, sender.report.sent, args.count)

    report = run_interruptible(run(sender, settings, args.count), on_signal=log_end)
    return 1 if args.strict and report.failed else 0
