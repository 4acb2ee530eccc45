"""Parts of the page for tests: a replica in memory, and what was seen of a fleet."""

from collections.abc import Sequence
from typing import Any

from msgspec.structs import replace

from peekaping_producer.brokers import Queue
from peekaping_producer.operations.heartbeat import SLOTS, FailingDependency, Heartbeat, Lateness, Rings
from peekaping_producer.operations.longest_waits import LongestWaits
from peekaping_producer.operations.look import Look
from peekaping_producer.operations.replica_report import ReplicaReport, encode_report
from peekaping_producer.schedule import Details, Member, Stats, StoredEvent, StoredReport
from peekaping_producer.transports.asynq.server_info import ServerInfo
from peekaping_producer.ui.bounds import short
from peekaping_producer.ui.details import SECOND_S, TEN_SECONDS_S, DueCounts
from peekaping_producer.ui.frame import Failure
from peekaping_producer.ui.names import Named
from peekaping_producer.ui.seen import Seen

NOW_MS = 1_800_000_000_500
HOSTILE = '<img src=x onerror=alert(1)>\u202e\x1b[2J"\\\n' * 20
STATS = Stats(
    now_ms=NOW_MS,
    due=7,
    leased=2,
    unclaimed=0,
    late=0,
    oldest_due_ms=None,
    oldest_id=None,
    lease_excess_ms=0,
    leader="vm-a-1-abcd/1",
    leader_ttl_ms=9000,
)


def report(host: str, at_ms: int = NOW_MS, *, leads: bool = False, **heartbeat: Any) -> StoredReport:
    """The stored report of a replica on this host."""
    rings = Rings(NOW_MS // 1000, (1,) * SLOTS, (0,) * SLOTS, (10,) * SLOTS, (0,) * SLOTS)
    beat = Heartbeat(**{"host": host, "version": "1.0.0", "started_ms": NOW_MS - 60_000, "rings": rings, **heartbeat})
    return StoredReport(f"{host}-1-abcd", at_ms, encode_report(ReplicaReport(leads=leads, heartbeat=beat)))


def look_of(*reports: StoredReport, queue: Queue | None = None, **stats: Any) -> Look:
    """A look with these reports."""
    return Look(replace(STATS, reports=reports, **stats), queue)


def seen_of(look: Look, details: Details | None = None, **changes: Any) -> Seen:
    """What a frame is made of, with nothing else in it."""
    seen = Seen(
        now_ms=NOW_MS,
        node="vm-a-1-abcd",
        program="1.0.0",
        look=look,
        waits=LongestWaits(),
        details=details or Details(NOW_MS),
        details_failure=None,
        due={width_s: DueCounts(0, width_s) for width_s in (SECOND_S, TEN_SECONDS_S)},
        names={},
        names_failure=None,
    )
    return replace(seen, **changes)


def hostile(text: str = HOSTILE) -> Seen:
    """Of 50 replicas, with long texts everywhere."""
    failing = tuple(FailingDependency("database" * 30, ("worker",), NOW_MS, text) for _ in range(4))
    rings = Rings(2**53, (2**53,) * SLOTS, (2**53,) * SLOTS, (10**6,) * 700, ())
    reports = [
        report(
            f"{n}{text}",
            rings=rings,
            failing=failing,
            started_ms=2**53,
            version=text,
            lateness=Lateness(None, 1e12),
        )
        for n in range(50)
    ]
    anomalies = tuple({"monitor_id": f"m{n}", "kind": f"{n}{text}"} for n in range(20))
    reports.append(StoredReport("kinds", NOW_MS, encode_report(ReplicaReport(anomalies=anomalies))))
    event = b'{"at_ms":%d,"kind":"%s","message":"%s","node":"%s"}' % (2**80, b"k" * 400, b"m" * 3000, b"n" * 900)
    stored = tuple(StoredEvent("9" * 100, event) for _ in range(50))
    members = tuple(Member(f"{n}{text}"[:64], str(NOW_MS - 9000)) for n in range(20))
    workers = tuple(ServerInfo(text, 2**70, 2**70, ("healthcheck",), "", 2**70) for _ in range(50))
    queue = Queue({"pending": 4}, 2.5, False, 50, workers=workers)
    look = look_of(*reports, queue=queue, unclaimed=20, oldest_due_ms=float(NOW_MS - 9000), leader=text)
    failure = Failure(1.0, short(text, 300))
    return seen_of(
        look,
        Details(NOW_MS, members, events=stored, events_refused=text),
        names={member.id: Named(short(text, 150), 60) for member in members},
        names_failure=failure,
        details_failure=failure,
    )


class MemoryReplica:
    """A ReplicaView whose answers the test sets."""

    node = "vm-a-1-abcd"

    def __init__(self, *reports: StoredReport) -> None:
        self.waits = LongestWaits()
        self.current = look_of(*reports)
        self.samples = 0

    def look(self) -> Look:
        return self.current

    def sample_soon(self) -> None:
        self.samples += 1

    def now_ms(self) -> int:
        return NOW_MS


class MemorySchedule:
    """Answers `look`, or raises what the test sets."""

    def __init__(self) -> None:
        self.details = Details(NOW_MS)
        self.error: Exception | None = None
        self.asked: list[dict[str, Any]] = []

    async def look(self, **options: Any) -> Details:
        self.asked.append(options)
        if self.error:
            raise self.error
        return replace(self.details, due_counts=(0,) * options["slots"].count)

    @property
    def widths(self) -> Sequence[int]:
        """The width of the slots that were asked for at each look, in s; 0 for none."""
        return [options["slots"].width_ms // 1000 if options["slots"].count else 0 for options in self.asked]
