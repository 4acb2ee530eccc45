"""`template`: a small service of the user's own."""

import argparse
import shlex
from pathlib import Path

from peekaping_producer.cli.parser import Commands

_NEXT = """Created {folder}. If no package index has peekaping-producer, build its wheel; in its checkout:
  .venv/bin/python -m hatchling build -t wheel -d {wheels}
Then:
  cd {quoted}
  python3 -m venv .venv
  .venv/bin/pip install --find-links wheels -r requirements-dev.txt
  .venv/bin/python -m pytest
  peekaping-producer template run
README.md describes what to edit."""


def add_to(commands: Commands) -> None:
    """Add the command of this module."""
    template = commands.add(
        "template",
        _new,
        "write a small service of your own, with a server process and worker processes, or run it once",
        names=(),
        example="peekaping-producer template new my-service",
    )
    actions = template.add_subparsers(title="actions", metavar="ACTION", required=True)
    text = "write the files of the service to a new or an empty folder"
    new = actions.add_parser("new", help=text, description=f"{text.capitalize()}.")
    new.add_argument("folder", type=Path, metavar="DIR", help="the folder; its name may contain any characters")
    new.set_defaults(command=_new)
    text = "start the service on a free port, send it one request, print what its processes log, and stop it"
    run = actions.add_parser("run", help=text, description=f"{text.capitalize()}.")
    run.add_argument(
        "folder", type=Path, metavar="DIR", nargs="?", default=Path(), help="the folder of the service (default: .)"
    )
    run.add_argument("--path", type=_path, default="/greet/world", help="the path to request (default: /greet/world)")
    run.set_defaults(command=_run)


def _path(text: str) -> str:
    """The path of a URL. Raises ArgumentTypeError."""
    if not text.startswith("/"):
        raise argparse.ArgumentTypeError(f"expected a path that begins with /, got {text!r}")
    return text


def _new(args: argparse.Namespace) -> int:
    from peekaping_producer.template.creation import create_project

    create_project(args.folder)
    wheels = shlex.quote(str(args.folder.absolute() / "wheels"))
    print(_NEXT.format(folder=args.folder, quoted=shlex.quote(str(args.folder)), wheels=wheels))
    return 0


def _run(args: argparse.Namespace) -> int:
    from peekaping_producer.template.demonstration import run_project

    return run_project(args.folder, args.path)
