"""Every interleaving of two producers, reclaimer, leaders, a consumer, edits and losses keeps the invariants."""

from collections.abc import Callable

import pytest

from tests.search.explore import Scope, Search

SCOPES = {
    "one monitor, two edits": Scope(edits=2),
    "one monitor, an edit and a loss": Scope(edits=1, faults=1),
    "one monitor, an edit, ticks are spread and no longer": Scope(edits=1, turns=2),
    "one monitor, an edit and an act": Scope(edits=1, acts=1),
    "one monitor, a loss, lost claims stay in play": Scope(edits=0, faults=1, whole=True),
}


@pytest.mark.parametrize("name", SCOPES)
def test_one_monitor_keeps_the_invariants(name: str, record_property: Callable[[str, object], None]) -> None:
    found = Search(SCOPES[name]).run()
    record_property("explored", f"{name}: {found}")
    assert found.complete
