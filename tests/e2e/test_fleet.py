"""What real replicas report of themselves, and the verdict that commands and probes derive from it."""

import json

from peekaping_producer.operations.fleet_events import decode_events
from peekaping_producer.operations.replica_report import replicas_of
from peekaping_producer.schedule import Schedule
from tests.kit.commands import command, status
from tests.kit.consumer import at_work
from tests.kit.fleet import Fleet
from tests.kit.waiting import until


async def test_two_replicas_report_and_stop(fleet: Fleet) -> None:
    await fleet.monitors(50)
    schedule = Schedule(fleet.redis)
    replicas = [fleet.start(METRICS_ADDR="127.0.0.1:0") for _ in range(2)]

    async def both_have_a_heartbeat() -> bool:
        reports = replicas_of(await schedule.stats()).values()
        return len(reports) == 2 and all(report.heartbeat for report in reports)

    async with at_work(fleet.consumer):
        await until(both_have_a_heartbeat)
        stats, answer = await schedule.stats(), json.loads((await replicas[0].get("/readyz"))[1])
        document = await status(fleet.folder, fleet.environment())
    beats = [report.heartbeat for report in replicas_of(stats).values() if report.heartbeat]
    assert document["verdict"]["code"] == answer["verdict"]["code"] == "on_time"
    assert document["verdict"]["sentence"] == answer["verdict"]["sentence"] == "Every check is on time."
    assert [beat.term for beat in beats if beat.term] == [stats.leader]
    assert beats[0].settings == beats[1].settings
    assert sum(sum(beat.rings.handed_off_10s) for beat in beats) >= 50
    assert 'verdict{code="on_time"} 1.0' in (await replicas[1].get("/metrics"))[1]

    fleet.terminate()
    ended = await command(fleet.folder, "status", **fleet.environment())
    assert ended.out.startswith("No replica runs: no replica has reported within the last minute.\n")
    found = [event.kind for event in decode_events((await schedule.look(events=100)).events)]
    assert (found.count("producer.started"), found.count("producer.stopped")) == (2, 2)
    assert {"leader.won", "schedule.synced", "leader.ended"} <= set(found)
