"""Looks the locked packages up in the list of known vulnerabilities, by pip-audit: `make audit`.

Exit code 0: none is known, or the list cannot be reached from here, which is said. 1: one is known, or some packages
could not be looked up.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

LOCKS = sorted((Path(__file__).parents[1] / "requirements").glob("*.txt"))
_OUT_OF_REACH = ("ConnectionError", "ServiceError", "Max retries exceeded", "Failed to resolve", "Timeout")


def main() -> int:
    """Every lock file; returns the worst exit code."""
    worst = 0
    for lock in LOCKS:
        code, said = verdict(*_ask(lock))
        print(f"{lock.name}: {said}")
        worst = max(worst, code)
    return worst


def verdict(report: str, complaints: str) -> tuple[int, str]:
    """The exit code and the words for what pip-audit wrote to stdout (JSON) and to stderr.

    A package that its list does not hold is skipped and no error to pip-audit, even where that is true for all.
    """
    try:
        packages: list[dict[str, Any]] = json.loads(report)["dependencies"]
    except (ValueError, KeyError):
        if any(each in complaints for each in _OUT_OF_REACH):
            return 0, f"NOT AUDITED, the list cannot be reached: {complaints.strip().splitlines()[-1][:300]}"
        return 1, f"NOT AUDITED: {complaints.strip()[-2000:]}"
    skipped = [each["name"] for each in packages if "skip_reason" in each]
    known = [f"{each['name']} {each['version']}: {bad['id']}" for each in packages for bad in each.get("vulns", ())]
    if packages and len(skipped) == len(packages):
        return 0, "NOT AUDITED, the list cannot be reached: it knows none of the packages"
    if known or skipped:
        return 1, "; ".join([*known, *(f"{name}: could not be looked up" for name in skipped)])
    return 0, f"no known vulnerability in {len(packages)} package{'s' * (len(packages) != 1)}"


def _ask(lock: Path) -> tuple[str, str]:
    argv = [sys.executable, "-m", "pip_audit", "--format=json", "--progress-spinner=off", "--timeout=15"]
    argv += ["--require-hashes", "--disable-pip", f"--requirement={lock}"]
    ended = subprocess.run(argv, capture_output=True, text=True, check=False)  # noqa: S603 - our own words
    return ended.stdout, ended.stderr


if __name__ == "__main__":
    sys.exit(main())
