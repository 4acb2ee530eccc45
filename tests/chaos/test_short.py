"""The short form of the chaos run: a fault of nearly every row of the matrix, with leases and outages cut down."""

from pathlib import Path

import pytest

from tests.chaos import report
from tests.chaos.checker import check
from tests.chaos.faults import FAULTS
from tests.chaos.history import Recorder, read
from tests.chaos.run import Course, run
from tests.chaos.timing import SHORT
from tests.kit.redis import need_a_binary

SEED = 7
MONITORS = 600
SHORT_FAULTS = [fault for fault in FAULTS if fault.short]


@pytest.mark.timeout(400)
async def test_nothing_is_lost_and_nothing_duplicated_whatever_breaks(tmp_path: Path) -> None:
    need_a_binary()
    lines = tmp_path / "history.jsonl"
    with Recorder(lines) as recorder:
        missed = await run(Course(SHORT_FAULTS, SEED, 0.0, MONITORS, SHORT), tmp_path, recorder, print)
    result = check(read(lines), lease_ttl_s=SHORT.lease_ttl_s, sync_s=SHORT.sync_s)
    print(report.table(result, SHORT_FAULTS, missed))
    assert missed == {}
    assert [str(each) for each in result.violations] == []
    assert result.tasks > 10 * len(SHORT_FAULTS)
    assert {"enqueued", "replaced", "lost"} <= set(result.outcomes), "the faults met hand-offs"
