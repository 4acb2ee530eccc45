"""The environment of the peers, with the packages of requirements/compare.txt: created when it is first needed."""

import hashlib
import subprocess
import sys
import venv
from pathlib import Path

HERE = Path(__file__).parent
_LOCK = HERE.parents[1] / "requirements" / "compare.txt"


def python() -> Path:
    """The interpreter of the environment. Installing needs the package index: AssertionError without it."""
    folder = Path(sys.prefix) / "compare"
    interpreter, stamp = folder / "bin" / "python", folder / ".installed"
    lock = hashlib.sha256(_LOCK.read_bytes()).hexdigest()
    if not stamp.exists() or stamp.read_text() != lock:
        print(f"installing {_LOCK.name} into {folder}", flush=True)
        venv.create(folder, clear=True)
        uv = [str(Path(sys.prefix) / "bin" / "uv"), "pip", "install", "--quiet", "--python", str(interpreter)]
        argv = [*uv, "--require-hashes", "-r", str(_LOCK)]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{_LOCK.name} cannot be installed: {done.stderr.strip()}"
        stamp.write_text(lock)
    return interpreter
