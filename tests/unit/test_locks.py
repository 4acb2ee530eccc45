"""The lock files (hashes, and no address of an index), and their audit."""

import json
import re
import runpy
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
LOCKS = sorted((ROOT / "requirements").glob("*.txt"))
verdict = runpy.run_path(str(ROOT / "deploy" / "audit.py"))["verdict"]


def test_there_is_a_lock_for_each_purpose() -> None:
    assert [path.name for path in LOCKS] == ["audit.txt", "base.txt", "compare.txt", "demo.txt", "dev.txt", "uv.txt"]


@pytest.mark.parametrize("path", LOCKS, ids=lambda path: path.name)
def test_lock_files_contain_versions_and_hashes_only(path: Path) -> None:
    lines = re.sub(r" \\\n\s+", " ", path.read_text()).splitlines()
    packages = [line for line in lines if line and not line.lstrip().startswith("#")]
    assert packages
    for line in packages:
        assert re.fullmatch(r"[a-z0-9-]+==[\w.!+-]+( ; [^#@/]+?)?( --hash=sha256:[0-9a-f]{64})+", line), line
    assert "://" not in path.read_text()


@pytest.mark.parametrize("path", sorted((ROOT / "requirements").glob("*.in")), ids=lambda path: path.name)
def test_requirements_name_no_index(path: Path) -> None:
    assert not re.search(r"://|^\s*-", path.read_text(), re.MULTILINE)


def test_the_build_installs_nothing_without_hashes() -> None:
    installs = [line for line in (ROOT / "Makefile").read_text().splitlines() if " install " in line and "@$(" in line]
    installs = [line for line in installs if "||" not in line]
    assert len(installs) == 5
    assert all("--require-hashes" in line or "--no-deps --no-build-isolation -e ." in line for line in installs)


SAFE: dict[str, Any] = {"name": "a", "version": "1", "vulns": []}
BAD: dict[str, Any] = {"name": "b", "version": "2", "vulns": [{"id": "PYSEC-1"}, {"id": "PYSEC-2"}]}
UNKNOWN: dict[str, Any] = {"name": "c", "skip_reason": "Dependency not found on PyPI"}


@pytest.mark.parametrize(
    ("packages", "code", "said"),
    [
        ([SAFE], 0, "no known vulnerability in 1 package"),
        ([SAFE, BAD], 1, "b 2: PYSEC-1; b 2: PYSEC-2"),
        ([SAFE, UNKNOWN], 1, "c: could not be looked up"),
        ([BAD, UNKNOWN], 1, "b 2: PYSEC-1; b 2: PYSEC-2; c: could not be looked up"),
        ([UNKNOWN], 0, "NOT AUDITED: the index contains none of the packages"),
    ],
)
def test_the_audit_reports_findings_and_unchecked_packages(
    packages: list[dict[str, Any]], code: int, said: str
) -> None:
    assert verdict(json.dumps({"dependencies": packages, "fixes": []}), "") == (code, said)


def test_the_audit_fails_for_anything_but_the_network() -> None:
    away = "Traceback ...\nrequests.exceptions.ConnectionError: Max retries exceeded with url: /v1/query"
    assert verdict("", away)[0] == 0
    assert "NOT AUDITED, the index cannot be reached" in verdict("", away)[1]
    assert verdict("", "ERROR: requirements file has no hashes") == (
        1,
        "NOT AUDITED: ERROR: requirements file has no hashes",
    )
