"""The example deploy/examples/message-queue, and the commands of docs/message-queue.md."""

import re
import sys
from pathlib import Path

from tests.kit.commands import ROOT

EXAMPLE = ROOT / "deploy" / "examples" / "message-queue"
_PAGE = ROOT / "docs" / "message-queue.md"


def documented(heading: str) -> list[tuple[str, str]]:
    """Each block of commands below a heading of the page, and the output that the page shows for it."""
    section = _PAGE.read_text().partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    blocks = re.findall(r"^```bash\n(.*?)^```\n(?:```json\n(.*?)^```)?", section, re.DOTALL | re.MULTILINE)
    return [(commands, output) for commands, output in blocks]


def path_with_python(folder: Path, path: str) -> str:
    """PATH with a folder in front in which `python` and `python3` are this interpreter."""
    for name in ("python", "python3"):
        program = folder / name
        program.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
        program.chmod(0o755)
    return f"{folder}:{path}"
