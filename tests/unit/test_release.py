"""`make release-check`: its comparisons, and a source distribution of this tree that passes them."""

import re
import runpy
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
check = runpy.run_path(str(ROOT / "deploy" / "release_check.py"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
CHANGELOG = "# Changelog\n\n## [1.2.0] - 2026-11-26\n\n## [1.1.0] - 2026-10-01\n"


@pytest.mark.parametrize("tags", [[], ["v1.2.0"], ["nightly", "v1.2.0"]])
def test_versions_that_agree(tags: list[str]) -> None:
    assert check["version_problems"]("1.2.0", CHANGELOG, tags) == []


@pytest.mark.parametrize(
    ("version", "changelog", "tags", "problem"),
    [
        ("1.3.0", CHANGELOG, [], "CHANGELOG.md: expected [1.3.0] as its first section, got [1.2.0]"),
        ("1.2.0", "## [Unreleased]\n" + CHANGELOG, [], "CHANGELOG.md: expected [1.2.0] as its first section, got [U"),
        ("1.2.0", "# Changelog\n", [], "CHANGELOG.md: expected [1.2.0] as its first section, got [None]"),
        ("1.2.0", "## [1.2.0]\n", [], "CHANGELOG.md: expected the date of [1.2.0] as YYYY-MM-DD, got None"),
        ("1.2.0", "## [1.2.0] - 26.11.2026\n", [], "CHANGELOG.md: expected the date of [1.2.0] as YYYY-MM-DD, got 26."),
        ("1.2.0", "## [1.2.0] - 2026-11-31\n", [], "CHANGELOG.md: expected the date of [1.2.0] as YYYY-MM-DD, got "),
        ("1.2.0", CHANGELOG, ["1.2.0"], "git tag: expected v1.2.0, got 1.2.0"),
        ("1.2.0", CHANGELOG, ["v1.2.1"], "git tag: expected v1.2.0, got v1.2.1"),
    ],
)
def test_versions_that_differ(version: str, changelog: str, tags: list[str], problem: str) -> None:
    [found] = check["version_problems"](version, changelog, tags)
    assert found.startswith(problem)


def test_versions_of_this_tree_agree() -> None:
    assert check["version_problems"](PROJECT["version"], (ROOT / "CHANGELOG.md").read_text(), []) == []


def test_missing_and_additional_files_of_a_source_distribution() -> None:
    tracked = ["README.md", "migrations/a.sql", "peekaping_producer/cli/main.py", "tests/conftest.py"]
    files = ["n-1/PKG-INFO", "n-1/README.md", "n-1/migrations/a.sql", "n-1/.env"]
    assert check["sdist_problems"](files, tracked) == [
        "source distribution: peekaping_producer/cli/main.py is missing",
        "source distribution: .env is not tracked",
    ]


def test_a_path_of_this_machine_is_found() -> None:
    files = {"a.py": b"x = '/home/me/checkout/a'", "b.py": b"/app/data"}
    places = [Path("/home/me/checkout"), Path("/app"), Path("/srv/else")]
    assert check["paths_of_this_machine"](files, places) == ["a.py: contains /home/me/checkout"]


def test_the_source_distribution_of_this_tree(tmp_path: Path) -> None:
    argv = [sys.executable, "-m", "hatchling", "build", "--target", "sdist", "--directory", tmp_path]
    subprocess.run(argv, cwd=ROOT, check=True, capture_output=True)
    (sdist,) = tmp_path.glob("*.tar.gz")
    files = check["contents"](sdist)
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    new = subprocess.run(
        ["git", "ls-files", "--others", "--exclude-standard"], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout
    assert check["sdist_problems"](files, tracked.split() + new.split()) == []
    assert check["paths_of_this_machine"](files, [ROOT, tmp_path, Path(sys.prefix)]) == []


def test_the_metadata_of_the_package() -> None:
    assert PROJECT["authors"] == [{"name": "The peekaping-producer authors"}]
    assert PROJECT["keywords"] == sorted(PROJECT["keywords"])
    assert PROJECT["urls"].keys() == {"Peekaping"}
    assert re.fullmatch(r"\d+\.\d+\.\d+", PROJECT["version"])
