"""A frame: the state of the fleet at one instant, as one replica sees it; the document of GET /api/fleet.

The page gets each frame rendered as nodes (`ui/rendering`). Times ending in `_ms` are Redis TIME in ms since the Unix
epoch, those in `_s` seconds. None: not known. Fields may be added; VERSION is incremented when one changes its meaning
or is removed. Texts contain user input (names, reasons): on one line and bounded, not escaped for HTML.
"""

import msgspec

from peekaping_producer.operations.heartbeat import Stages
from peekaping_producer.operations.verdict import VerdictLevel

VERSION = 1
MAX_OVERDUE = 5
MAX_EVENTS = 12
MAX_CONDITION_EVENTS = 4
"""Of them, those about conditions."""
MAX_WORKERS = 8


class FrameVerdict(msgspec.Struct, frozen=True):
    """The verdict on the fleet."""

    code: str
    """One of operations.verdict.VerdictCode."""
    level: VerdictLevel
    sentence: str
    details: str
    since_ms: float | None = None
    ends_ms: float | None = None


class Failure(msgspec.Struct, frozen=True):
    """A dependency that does not answer this replica, or refuses."""

    since_ms: float | None
    reason: str


class Leader(msgspec.Struct, frozen=True):
    """The replica that leads."""

    node: str
    name: str
    ttl_ms: int | None
    """Until its key expires, when the schedule was read; None for no expiry."""


class FrameHold(msgspec.Struct, frozen=True):
    """The hold on all monitors."""

    until_ms: float
    who: str
    why: str


class Series(msgspec.Struct, frozen=True):
    """operations.heartbeat.SLOTS counts on each side of now; slots are aligned by Redis TIME."""

    at_s: int
    """The second (for slots of 10 s: the first of the slot) of the last slot of the past, which is not complete."""
    handed_off: list[int]
    """Oldest first; the sum of all replicas that are heard."""
    late: list[int]
    """Of them, those over operations.heartbeat.LATE_HAND_OFF_S."""
    due: list[int]
    """Monitors due in each coming slot, the first of which follows the slot of `at_s`."""
    longest_wait_s: list[float | None]
    """Oldest first, aligned with `handed_off`: the longest wait of a monitor; None if it was not read in that slot."""


class OverdueMonitor(msgspec.Struct, frozen=True):
    """One of the monitors that have waited longest."""

    id: str
    name: str | None
    """None while the database does not answer, or if it contains no such monitor."""
    interval_s: int | None
    due_ms: float | None
    """None of a claimed monitor, unless it is the longest overdue one of all."""
    holder: str | None
    """The replica that has claimed it; "" if its claim is in no heartbeat, None if it is not claimed."""
    claimed_ms: int | None = None
    """Since when a claim holds it; None if no heartbeat contains the claim, or it is not claimed."""


class FailingPart(msgspec.Struct, frozen=True):
    """A dependency that fails on a replica."""

    name: str
    since_ms: int
    reason: str


class FrameReplica(msgspec.Struct, frozen=True):
    """A replica, as it describes itself."""

    node: str
    name: str
    """Its host, or its node where several replicas are on one host."""
    version: str
    started_ms: int
    leads: bool
    handed_off_1s: list[int]
    """Of the last 30 s, oldest first."""
    late_p99_s: float | None
    stages: Stages
    """Each stage as [recent ms, usual ms]."""
    database_ms: float | None
    round_trip_ms: float | None
    failing: list[FailingPart]
    heard_ms: int
    """When it last reported."""
    is_silent: bool
    """Whether it has missed a report."""
    slow_stages: list[str] = []
    """The stages that delay monitors, by the rule of the verdict."""


class FrameWorker(msgspec.Struct, frozen=True):
    """A worker process that runs checks."""

    name: str
    """host:process id."""
    busy: int
    slots: int
    started_ms: int | None


class FrameQueue(msgspec.Struct, frozen=True):
    """asynq's queues: of checks, and of results. Read every 15 s."""

    read_ms: int
    waiting: int
    oldest_s: float | None
    running: int
    slots: int
    finished_per_s: float | None
    slots_needed: int | None
    """By Little's law: arrivals a second times the mean duration of a check."""
    paused: bool
    retry: int
    archived: int
    workers: list[FrameWorker]
    """The first MAX_WORKERS."""
    workers_omitted: int
    results_waiting: int
    results_oldest_s: float | None
    results_workers: int


class FrameEvent(msgspec.Struct, frozen=True):
    """What a replica or a person did."""

    id: str
    at_ms: int
    kind: str
    """The name of the log event."""
    text: str
    monitor_id: str | None
    who: str
    """A person, or the node of a replica."""


class Quiet(msgspec.Struct, frozen=True):
    """Monitors with problems of their own, as the replicas report them."""

    unschedulable: int
    """Active rows that cannot be scheduled."""
    set_aside: int
    """Monitors whose work failed; each is tried again."""
    anomalies: dict[str, int]
    """By kind."""
    held: int = 0
    """Monitors that people hold, one by one."""


class Frame(msgspec.Struct, frozen=True, kw_only=True):
    """The fleet, as one replica sees it."""

    version: int = VERSION
    now_ms: int
    """Redis TIME at which the frame was made; by the local clock if Redis has not answered yet."""
    read_ms: int | None
    """When the schedule was read: older than `now_ms` while Redis does not answer."""
    node: str
    """The replica that serves the page."""
    program: str
    """Its version."""
    verdict: FrameVerdict
    redis_failure: Failure | None
    """While it is set, all other figures are as old as `read_ms`."""
    details_failure: Failure | None
    """Why what only pages read (coming due times, longest overdue monitors, events) is old or missing."""
    database_failure: Failure | None
    """Why names are missing; `since_ms` is None if the verdict reports the database."""
    leader: Leader | None
    replicas_heard: int
    replicas_known: int
    """Those, and those that have been silent for less than a minute."""
    scheduled: int
    leased: int
    overdue: int
    """Monitors due or claimed that should have been handed off before now."""
    late_p99_s: float | None
    """From due time to hand-off in the last minute, of the worst replica."""
    longest_wait_s: float
    hold: FrameHold | None
    seconds: Series
    """By second."""
    ten_seconds: Series
    """By 10 s."""
    hint: str
    """What the coming slots suggest; "" for nothing."""
    longest_overdue: list[OverdueMonitor]
    """Those that wait noticeably; at most MAX_OVERDUE, the longest known wait first."""
    replicas: list[FrameReplica]
    """The leader first, then those with problems, then by name."""
    replicas_omitted: int
    queue: FrameQueue | None
    """None if the tasks are not in asynq's queue, or it has not been read."""
    events: list[FrameEvent]
    """The latest first; at most MAX_EVENTS."""
    events_failure: str
    """Why events cannot be read; "" if they can."""
    quiet: Quiet


encode_json = msgspec.json.Encoder().encode
