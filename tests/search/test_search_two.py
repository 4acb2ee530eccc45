"""The same for two monitors in one claim, up to a number of states; in its own file, to run in parallel."""

from collections.abc import Callable

from tests.search.explore import Scope, Search

SCOPE = Scope(monitors=2, edits=1, faults=1, acts=1, most=100_000)


def test_two_monitors_keep_the_invariants(record_property: Callable[[str, object], None]) -> None:
    found = Search(SCOPE).run()
    record_property("explored", f"two monitors, an edit and a loss: {found}")
    assert found.complete or found.states >= 100_000
