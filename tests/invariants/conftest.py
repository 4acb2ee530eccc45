"""Replaces the product's monotonic clock, and disables its log."""

import sys
import time
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
import structlog

from tests.invariants.replica import STEADY


@pytest.fixture(autouse=True)
def walking_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """The product's monotonic clock, and the constants that six monitors would be too few for."""
    walking = SimpleNamespace(monotonic=lambda: STEADY.now_s, time=lambda: STEADY.now_s)
    for name, module in list(sys.modules.items()):
        if name.startswith("peekaping_producer.") and getattr(module, "time", None) is time:
            monkeypatch.setattr(module, "time", walking)
    monkeypatch.setattr("peekaping_producer.producer.loops.sync.PAGE", 2)
    monkeypatch.setattr("peekaping_producer.operations.reconcile.guards.ACCEPT_EMPTY_BELOW", 4)


@pytest.fixture(autouse=True)
def silence() -> Iterator[None]:
    """A walk logs as much as a bad week."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger("critical"))
    yield
    structlog.configure(**before)
