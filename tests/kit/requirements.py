"""What a test needs from the machine: absent, it is skipped with the reason; with REQUIRE_ALL=1 it fails."""

import os

import pytest


def need(available: object, what: str) -> None:
    """Go on if `available` is true; otherwise skip, naming `what` to install, or fail where nothing may be skipped."""
    if available:
        return
    if os.environ.get("REQUIRE_ALL") == "1":
        pytest.fail(f"needed here, and not to be had: {what}", pytrace=False)
    pytest.skip(f"not to be had: {what}")
