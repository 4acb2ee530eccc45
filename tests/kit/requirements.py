"""Requirements of a test on the machine: without them it is skipped with the reason, or fails with REQUIRE_ALL=1."""

import os

import pytest


def need(available: object, what: str) -> None:
    """Skip the test unless `available`, naming `what` to install; fail instead with REQUIRE_ALL=1."""
    if available:
        return
    if os.environ.get("REQUIRE_ALL") == "1":
        pytest.fail(f"required by REQUIRE_ALL=1, but missing: {what}", pytrace=False)
    pytest.skip(f"missing: {what}")
