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
        """One leads and one does not, and both together have handed off; a heartbeat may be 5 s old."""
        stats = await schedule.stats()
        beats = [report.heartbeat for report in replicas_of(stats).values() if report.heartbeat]
        handed_off = sum(sum(beat.rings.handed_off_10s) for beat in beats)
        terms = [beat.term for beat in beats if beat.term]
        return len(beats) == 2 and terms == [stats.leader] and handed_off >= 50

    async def all_report_that_checks_are_on_time() -> bool:
        """The command, which reads Redis now, and each replica, which sampled it up to 5 s ago."""
        verdicts = [json.loads((await replica.get("/readyz"))[1])["verdict"] for replica in replicas]
        verdicts.append((await status(fleet.folder, fleet.environment()))["verdict"])
        found = {(verdict["code"], verdict["sentence"]) for verdict in verdicts}
        return found == {("on_time", "Every check is on time.")}

    async def a_metric_shows_it() -> bool:
        return 'verdict{code="on_time"} 1.0' in (await replicas[1].get("/metrics"))[1]

    async with at_work(fleet.consumer):
        await until(both_have_a_heartbeat, "one leads and both work, as both report")
        await until(all_report_that_checks_are_on_time)
        await until(a_metric_shows_it)
        reports = replicas_of(await schedule.stats()).values()
        settings = [report.heartbeat.settings for report in reports if report.heartbeat]
        assert settings[0] == settings[1]
    fleet.terminate()
    ended = await command(fleet.folder, "status", **fleet.environment())
    assert ended.out.startswith("No replica runs: no replica has reported within the last minute.\n")
    found = [event.kind for event in decode_events((await schedule.look(events=100)).events)]
    assert (found.count("producer.started"), found.count("producer.stopped")) == (2, 2)
    assert {"leader.won", "schedule.synced", "leader.ended"} <= set(found)
