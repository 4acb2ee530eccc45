"""The tick after an instant, against results of upstream's function."""

import pytest

from peekaping_producer.monitors.monitor import next_tick
from tests.kit.vectors import vectors

VECTORS = vectors("next_aligned")


def test_golden_vectors() -> None:
    assert len(VECTORS) == 116
    assert any(vector["now_ms"] < 0 for vector in VECTORS)
    for vector in VECTORS:
        assert next_tick(vector["now_ms"], vector["interval_s"]) == vector["next_ms"], vector


@pytest.mark.parametrize("interval", [0, -1])
def test_an_interval_must_be_positive(interval: int) -> None:
    with pytest.raises(ValueError, match=f"got {interval}"):
        next_tick(0, interval)
