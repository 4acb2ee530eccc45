"""Checks the locked packages for known vulnerabilities with pip-audit: `make audit`.

Exit code 0: none is known, or the index cannot be reached, which is reported. 1: one is known, or some packages could
not be looked up.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

LOCKS = sorted((Path(__file__).parents[1] / "requirements").glob("*.txt"))
_UNREACHABLE = ("ConnectionError", "ServiceError", "Max retries exceeded", "Failed to resolve", "Timeout")


def main() -> int:
    """Check every lock file; returns the highest exit code."""
    worst = 0
    for lock in LOCKS:
        code, text = verdict(*_audit(lock))
        print(f"{lock.name}: {text}")
        worst = max(worst, code)
    return worst


def verdict(report: str, complaints: str) -> tuple[int, str]:
    """Return exit code and text for what pip-audit wrote to stdout (JSON) and stderr.

    pip-audit skips a package that its index does not contain; that is no error to it, even if it skips all.
    """
    try:
        packages: list[dict[str, Any]] = json.loads(report)["dependencies"]
    except (ValueError, KeyError):
        if any(each in complaints for each in _UNREACHABLE):
            return 0, f"NOT AUDITED, the index cannot be reached: {complaints.strip().splitlines()[-1][:300]}"
        return 1, f"NOT AUDITED: {complaints.strip()[-2000:]}"
    skipped = [each["name"] for each in packages if "skip_reason" in each]
    known = [f"{each['name']} {each['version']}: {bad['id']}" for each in packages for bad in each.get("vulns", ())]
    if packages and len(skipped) == len(packages):
        return 0, "NOT AUDITED: the index contains none of the packages"
    if known or skipped:
        return 1, "; ".join([*known, *(f"{name}: could not be looked up" for name in skipped)])
    return 0, f"no known vulnerability in {len(packages)} package{'s' * (len(packages) != 1)}"


def _audit(lock: Path) -> tuple[str, str]:
    argv = [sys.executable, "-m", "pip_audit", "--format=json", "--progress-spinner=off", "--timeout=15"]
    argv += ["--require-hashes", "--disable-pip", f"--requirement={lock}"]
    ended = subprocess.run(argv, capture_output=True, text=True, check=False)  # noqa: S603 - fixed arguments
    return ended.stdout, ended.stderr


if __name__ == "__main__":
    sys.exit(main())
