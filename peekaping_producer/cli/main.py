"""The command line: its parser, and the exit code of every command."""

import argparse
import errno
import os
import sys
from collections.abc import Sequence

from peekaping_producer import logs
from peekaping_producer.cli import demo, messages, operations, producer, sender, template
from peekaping_producer.cli.parser import Commands, Parser, add_env_file
from peekaping_producer.cli.runtime import print_error, print_failure
from peekaping_producer.errors import ActError, ConfigError, ProducerError, UnreachableError
from peekaping_producer.settings import ENV_FILES

EXIT_CODES = """exit codes:
  0  success; `run`, `relay`, `serve`, `consume`: stopped by SIGTERM, SIGHUP or Ctrl-C
  1  any other failure; `status`, `probe`, `migrate --check`: the check failed; `send --strict`: a message was not sent;
     `explain`: the monitor is not checked as configured; `doctor`: there is a problem; `reconcile`: the leader has not
     synced, or with --exit-code: something differs; `run-now`, `hold`, `release`: not done for every monitor
  2  bad configuration or usage; every bad setting is reported; `explain`, `run-now`,
     `hold`, `release`: several monitors match a text
  3  Redis or the database did not answer (`run` and `migrate` try for STARTUP_TIMEOUT)
  130, 143, 129  ended by Ctrl-C, SIGTERM or SIGHUP (130 also: Ctrl-C before `run` had started)
"""
_SHELLS = ("bash", "zsh", "fish")
_STDOUT_ERRNOS = (errno.EPIPE, errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF)
"""The errors of writing to stdout; no other call of a command raises OSError."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code. A user's mistake is reported in one line, without a traceback."""
    logs.unblock_stderr()
    parser = _parser()
    args = parser.parse_args(argv)
    if args.command is None:
        parser.print_help(sys.stderr)
        parser.exit(
            2,
            f"{parser.prog}: COMMAND: expected one of these, got none; try `demo`, or `check-config` and `run`\n",
        )
    args.env_files = [*args.env_files, *args.env_files_after] or ENV_FILES
    try:
        code = _run(args)
        sys.stdout.flush()
    except KeyboardInterrupt:
        return 130
    except OSError as error:
        if error.errno not in _STDOUT_ERRNOS:
            raise
        if error.errno != errno.EPIPE:  # as in `status | head`
            print_error(f"cannot write to stdout: {error.strerror}")
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes once more at exit
        return 1
    return code


def _run(args: argparse.Namespace) -> int:
    """Run the command; returns the exit code. Prints a ProducerError."""
    try:
        code: int = args.command(args)
    except ProducerError as error:
        return _failed(args, error)
    return code


def _failed(args: argparse.Namespace, error: ProducerError) -> int:
    """Print the error; returns the exit code."""
    if isinstance(error, ConfigError):
        for warning in error.warnings:
            print_error(warning)
        print_failure(args, *error.problems)
        return 2
    if isinstance(error, ActError):
        print_failure(args, f"{error}; see --help")
        return 2
    print_failure(args, str(error))
    return 3 if isinstance(error, UnreachableError) else 1


def _parser(file_completion: object = None) -> Parser:
    parser = Parser(
        prog="peekaping-producer",
        description="Decides when each Peekaping monitor is due and enqueues its check for the workers.\n"
        "`relay`, `serve` and `consume` send and receive any messages; `send` posts the time to an API.\n"
        "COMMAND --help lists the settings that a command reads, and an example.",
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action=_PrintVersion, nargs=0, help="show program's version number and exit")
    add_env_file(parser, "env_files", file_completion)
    parser.set_defaults(command=None)
    commands = Commands(parser, file_completion)
    for module in (producer, operations, messages, sender, demo, template):
        module.add_to(commands)
    completion = commands.add(
        "completion",
        _print_completion,
        f"print the completion script of a shell: {', '.join(_SHELLS)}",
        example='eval "$(peekaping-producer completion bash)"  # fish: peekaping-producer completion fish | source',
    )
    completion.add_argument("shell", choices=_SHELLS)
    return parser


class _PrintVersion(argparse.Action):
    """As argparse's own action, which needs the version whenever a parser is made."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        """Print it and exit."""
        from importlib.metadata import version

        print(parser.prog, version("peekaping-producer"))
        parser.exit()


def _print_completion(args: argparse.Namespace) -> int:
    import shtab

    print(shtab.complete(_parser(file_completion=shtab.FILE), args.shell))
    return 0
