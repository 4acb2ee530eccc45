"""Checks whether this checkout can be tagged and released: `make release-check`.

Builds the source distribution, and from it the wheel; checks their contents; installs the wheel in a new environment
and runs it there; compares the versions in pyproject.toml, CHANGELOG.md and the tag. Leaves both files in dist/.
Exits with 1 and prints one line for each problem.
"""

import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import tomllib
import venv
import zipfile
from collections.abc import Iterable, Mapping
from datetime import date
from pathlib import Path

ROOT = Path(__file__).parents[1]
NAME = "peekaping-producer"
BIN = Path(sys.executable).parent
SECONDS_OF_DEMO = "6"
_TEXTS = ("README.md", "LICENSE", "CHANGELOG.md", "pyproject.toml")
_MADE = ("PKG-INFO", ".gitignore")
"""Files that hatchling adds to a source distribution."""
_TOP = re.compile(r"^## \[(?P<version>[^\]]+)\](?: - (?P<date>\S+))?$", re.MULTILINE)


class FailedError(Exception):
    """A step failed; the message has its output."""


def main() -> int:
    """Run every check; returns the exit code."""
    version = str(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"])
    problems: list[str] = []
    with tempfile.TemporaryDirectory(prefix="peekaping-release-") as directory:
        place = Path(directory)
        try:
            problems += version_problems(version, (ROOT / "CHANGELOG.md").read_text(), _tags_of_head())
            problems += _check(place, version)
        except FailedError as error:
            problems.append(str(error))
    for problem in problems:
        print(f"release-check: {problem}", file=sys.stderr)
    if not problems:
        print(f"{NAME} {version} can be released: git tag v{version}")
    return int(bool(problems))


def _check(place: Path, version: str) -> list[str]:
    _say("build the source distribution, and the wheel from it")
    _run(sys.executable, "-m", "build", "--no-isolation", "--outdir", place / "dist", ROOT)
    sdist, wheel = contents(_only(place, "*.tar.gz")), contents(_only(place, "*.whl"))
    machine = [ROOT, Path.home(), Path(sys.prefix), place]
    problems = sdist_problems(sdist, _tracked()) + paths_of_this_machine(sdist | wheel, machine)
    _say("check the metadata")
    _run(sys.executable, "-m", "twine", "check", "--strict", *(place / "dist").iterdir())
    _say("install the wheel in a new environment")
    program = _installed(_only(place, "*.whl"), place / "venv")
    printed = _run(program, "--version", cwd=place).strip()
    if printed != f"{NAME} {version}":
        problems.append(f"--version: expected {NAME} {version}, got {printed!r}")
    _say(f"run its demo for {SECONDS_OF_DEMO} s")
    print(_run(program, "demo", "--seconds", SECONDS_OF_DEMO, cwd=place), end="")
    shutil.copytree(place / "dist", ROOT / "dist", dirs_exist_ok=True)
    return problems


def version_problems(version: str, changelog: str, tags: Iterable[str]) -> list[str]:
    """Compare the version of pyproject.toml with the newest section of the changelog and the tags of this commit."""
    problems = []
    found = _TOP.search(changelog)
    if not found or found["version"] != version:
        problems.append(f"CHANGELOG.md: expected [{version}] as its first section, got [{found and found['version']}]")
    elif not _is_date(found["date"]):
        problems.append(f"CHANGELOG.md: expected the date of [{version}] as YYYY-MM-DD, got {found['date']}")
    wrong = [tag for tag in tags if tag.lstrip("v") == version and tag != f"v{version}"]
    wrong += [tag for tag in tags if re.fullmatch(r"v?\d+(\.\d+)+\S*", tag) and tag.lstrip("v") != version]
    problems += [f"git tag: expected v{version}, got {tag}" for tag in wrong]
    return problems


def sdist_problems(files: Iterable[str], tracked: Iterable[str]) -> list[str]:
    """Find tracked files that a source distribution lacks, and files in it that are not tracked."""
    present = {name.partition("/")[2] for name in files}
    needed = {name for name in tracked if name in _TEXTS or name.startswith(("peekaping_producer/", "migrations/"))}
    problems = [f"source distribution: {name} is missing" for name in sorted(needed - present)]
    return problems + [f"source distribution: {name} is not tracked" for name in sorted(present - needed - {*_MADE})]


def paths_of_this_machine(files: Mapping[str, bytes], places: Iterable[Path]) -> list[str]:
    """Find files that contain a directory of the build machine. Directories directly below / may occur by chance."""
    needles = [str(place) for place in places if len(place.parts) > 2]
    return [f"{name}: contains {each}" for name, data in files.items() for each in needles if each.encode() in data]


def contents(archive: Path) -> dict[str, bytes]:
    """Read the files of a .tar.gz or .whl, by name."""
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as wheel:
            return {name: wheel.read(name) for name in wheel.namelist() if not name.endswith("/")}
    with tarfile.open(archive) as sdist:
        opened = {each.name: sdist.extractfile(each) for each in sdist.getmembers() if each.isfile()}
        return {name: file.read() for name, file in opened.items() if file}


def _installed(wheel: Path, home: Path) -> Path:
    """Install the locked packages and this wheel in a new environment; returns its command."""
    venv.create(home, symlinks=True)
    install = (BIN / "uv", "pip", "install", "--quiet", "--python", home / "bin" / "python")
    _run(*install, "--require-hashes", "--requirement", ROOT / "requirements" / "demo.txt")
    _run(*install, "--no-index", f"{NAME}[embedded] @ {wheel.as_uri()}")  # fails if the metadata requires more
    return home / "bin" / NAME


def _run(*argv: str | Path, cwd: Path = ROOT) -> str:
    """Return its stdout. Settings of the producer in this shell are not passed on. Raises FailedError."""
    kept = {name: text for name, text in os.environ.items() if not name.startswith(("DB_", "REDIS_", "DATABASE_"))}
    env = {name: text for name, text in kept.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    done = subprocess.run(argv, cwd=cwd, env=env, capture_output=True, text=True, check=False)  # noqa: S603 - fixed arguments
    if done.returncode:
        raise FailedError(f"{Path(argv[0]).name} {argv[1]} exited with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout


def _tracked() -> list[str]:
    return _run("git", "ls-files").splitlines()


def _tags_of_head() -> list[str]:
    return _run("git", "tag", "--points-at", "HEAD").splitlines()


def _only(place: Path, pattern: str) -> Path:
    (found,) = (place / "dist").glob(pattern)
    return found


def _is_date(text: str | None) -> bool:
    try:
        return date.fromisoformat(text or "").isoformat() == text
    except ValueError:
        return False


def _say(step: str) -> None:
    print(f"{step} ...", flush=True)


if __name__ == "__main__":
    sys.exit(main())
