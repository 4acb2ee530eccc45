"""The commands of docs/template.md, and a checkout in which they run."""

import os
import re
import shlex
import sys
import sysconfig
from pathlib import Path

from tests.kit.commands import MINIMAL, ROOT

PAGE = ROOT / "docs" / "template.md"
BIN = Path(sys.executable).parent
_LINKED = ("LICENSE", "README.md", "migrations", "peekaping_producer", "pyproject.toml")
_PYTHON3 = """#!/bin/sh
# A new environment can import what is installed here, so that pip finds each requirement and needs no index.
{python} "$@"
cp {packages} .venv/lib/python3.*/site-packages/
ln -s {bin}/mypy {bin}/ruff .venv/bin/
"""


def blocks(heading: str, language: str = "bash") -> list[str]:
    """The blocks of a section of the page."""
    section = PAGE.read_text().partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    return re.findall(rf"^```{language}\n(.*?)^```$", section, re.DOTALL | re.MULTILINE)


def environment() -> dict[str, str]:
    """The variables of a shell in which the commands run."""
    return MINIMAL | {"PIP_NO_INDEX": "1", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONPATH": "", "HOME": os.devnull}


def checkout(folder: Path) -> Path:
    """A folder that looks like this checkout after `make setup`."""
    made = folder / "checkout"
    scripts = made / ".venv" / "bin"
    scripts.mkdir(parents=True)
    for name in _LINKED:
        (made / name).symlink_to(ROOT / name)
    packages = folder / "packages.pth"
    packages.write_text(f"{ROOT}\n{sysconfig.get_path('purelib')}\n")
    python = shlex.quote(sys.executable)
    _write(scripts / "python3", _PYTHON3.format(python=python, packages=packages, bin=BIN))
    _write(scripts / "python", f'#!/bin/sh\nexec {python} "$@"\n')
    _write(scripts / "peekaping-producer", f'#!/bin/sh\nexec {python} -m peekaping_producer "$@"\n')
    return made


def _write(script: Path, text: str) -> None:
    script.write_text(text)
    script.chmod(0o755)
