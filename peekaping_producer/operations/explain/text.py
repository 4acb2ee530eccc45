"""An explanation as text: the verdict first, then labeled facts. ASCII, but for texts of the database."""

from collections.abc import Iterator

from peekaping_producer.brokers.monitor_state import TaskKind
from peekaping_producer.operations.explain.codes import Level, MonitorVerdict
from peekaping_producer.operations.explain.facts import Facts, status_of
from peekaping_producer.operations.explain.maintenance import HOURS_AHEAD, is_under_maintenance
from peekaping_producer.operations.explain.rules import owner_unknown
from peekaping_producer.operations.moments import Moments
from peekaping_producer.operations.naming import MAX_FOUND, Candidate, how_often
from peekaping_producer.service.text import counted, duration, escaped, one_line

MAX_NAME_LENGTH = 150
_WIDTH = 12
_COLORS = {Level.OK: 32, Level.OFF: 36, Level.NOTE: 33, Level.FAIL: 31}


def lines_of(
    facts: Facts, verdict: MonitorVerdict, moments: Moments, server_zone: str, *, color: bool = False
) -> list[str]:
    """Return the explanation. `color` adds colors to the level, which is a word in any case."""
    name = one_line(facts.row.name, MAX_NAME_LENGTH) if facts.row else ""
    level = f"{verdict.level.value:<4}"
    if color:
        level = f"\033[{_COLORS[verdict.level]}m{level}\033[0m"
    lines = [f"{name}  {one_line(facts.monitor_id, 64)}".strip(), "", f"{level}  {escaped(verdict.sentence)}"]
    if verdict.remedy:
        lines.append(f"      {escaped(verdict.remedy)}")
    lines += [f"      code: {verdict.code}" + (f", cause: {one_line(verdict.cause, 60)}" if verdict.cause else ""), ""]
    for label, texts in (
        ("database", _database(facts)),
        ("schedule", _schedule(facts, moments, server_zone)),
        ("task", _task(facts, moments)),
        ("maintenance", _maintenance(facts, moments)),
        ("anomalies", _anomalies(facts)),
        ("heartbeats", _heartbeats(facts, moments)),
        ("events", _events(facts, moments)),
        ("fleet", [one_line(facts.fleet.verdict.sentence, 500)] if facts.fleet else []),
        ("redis", [one_line(facts.redis_error, 500)] if facts.redis_error else []),
    ):
        for n, text in enumerate(texts):
            lines.append(f"{'' if n else label:<{_WIDTH}} {text}")
    clock = "this host" if facts.state is None else "Redis"
    return [*lines, "", f"Read at {moments.clock(facts.now_ms)} {moments.name_of_zone()}, by the clock of {clock}."]


def candidate_lines(text: str, found: tuple[Candidate, ...], database_error: str = "") -> list[str]:
    """Return the monitors that match, to choose one by its id. `database_error`: why only the schedule was searched."""
    count = f"{MAX_FOUND} or more" if len(found) >= MAX_FOUND else str(len(found))
    width = max(len(one.id) for one in found)
    lines = [f"{count} monitors match {one_line(repr(text), 100)}; name one by its id:"]
    for one in found:
        name = one_line(one.name or "", MAX_NAME_LENGTH)
        lines.append(f"  {one_line(one.id, 64):<{width}}  {how_often(one.interval_s):<14}  {name}".rstrip())
    if database_error:
        lines.append(f"Only ids of the schedule were searched: {one_line(database_error, 500)}")
    return lines


def _database(facts: Facts) -> Iterator[str]:
    if facts.database_error:
        yield f"cannot be read: {one_line(facts.database_error, 500)}"
        yield from _reported(facts, "database_unavailable")
        return
    row = facts.row
    if row is None:
        yield "no row"
        return
    if row.details is None:
        yield one_line(f"the row cannot be read: {row.unreadable}" if row.unreadable else row.waiting)
        return
    monitor = row.details.monitor
    state = "active" if monitor.active else "inactive (paused)"
    retries = ""
    if monitor.max_retries:
        retries = f", {counted(monitor.max_retries, 'retry', 'retries')}, each after {monitor.retry_interval} s"
    yield f"{state}, every {monitor.interval} s, timeout {monitor.timeout} s, {one_line(monitor.type, 30)}{retries}"
    if row.details.proxy:
        yield f"proxy {one_line(row.details.proxy.id, 64)} ({one_line(row.details.proxy.protocol, 20)}) exists"
    if row.details.dangling_proxy_id:
        yield f"proxy {one_line(row.details.dangling_proxy_id, 64)} does not exist: it runs without one"


def _reported(facts: Facts, code: str) -> Iterator[str]:
    if facts.fleet is None:
        return
    for node, report in facts.fleet.replicas.items():
        for condition in report.conditions:
            if condition.code == code:
                yield f"{facts.fleet.look.name(node)} reports: {one_line(condition.reason, 300)}"


def _schedule(facts: Facts, moments: Moments, server_zone: str) -> Iterator[str]:
    state = facts.state
    if state is None:
        yield "not known"
        return
    if state.due_ms is not None:
        kind = ": postponed" if state.postponed else ": not a tick of its interval" if state.misaligned else ""
        yield f"due at {moments.at(state.due_ms)}{kind}"
    if state.token is not None:
        holder = facts.holder
        if holder:
            heard = f"last report {duration(holder.silent_s)} ago"
            yield f"claimed by {one_line(holder.node, 60)} at {moments.at(holder.since_ms)}; {heard}"
        else:
            yield f"claimed by {owner_unknown(facts)}"
        yield f"the claim ends at {moments.at(state.token)}"
    if state.due_ms is None and state.token is None:
        yield "in neither set, due or lease"
    if state.intended_ms is not None:
        yield f"not handed off since {moments.at(state.intended_ms)}"
    ticks = facts.next_ticks()
    if ticks and state.is_scheduled:
        marks = [_marked(facts, moments, tick, server_zone) for tick in ticks]
        note = "  (m: under maintenance)" if any(mark.endswith("m") for mark in marks) else ""
        after = "" if facts.held_until_ms is None else " after the hold"
        yield f"next ticks{after} {'  '.join(marks)}{note}"


def _marked(facts: Facts, moments: Moments, tick: int, server_zone: str) -> str:
    windows = facts.row.details.windows if facts.row and facts.row.details else ()
    under = bool(windows) and is_under_maintenance(windows, tick, server_zone)
    return f"{moments.clock(tick)}{' m' if under else ''}"


def _task(facts: Facts, moments: Moments) -> Iterator[str]:
    if facts.fleet is None or facts.fleet.queue is None:  # not known, or not in asynq's queue
        return
    task = facts.task
    if task is None:
        yield "none: no check is pending or running"
        return
    state = one_line(task.state, 30) or "not a task"
    if task.kind is TaskKind.QUEUED:
        since = f" since {moments.at(task.pending_since_ms)}" if task.pending_since_ms is not None else ""
        place = f"at place {task.position}" if task.position else "behind 10,000 others"
        wait_s = facts.estimated_wait_s
        taken = "" if wait_s is None else f"; a worker takes it in about {duration(wait_s)}"
        yield f"{state}{since}, {place} of the queue{taken}"
    else:
        since = "" if facts.active_since_ms is None else f" since {moments.at(facts.active_since_ms)}"
        silent = ", and no running worker reports it" if task.state == "active" else ""
        yield f"{state}{since}" + (f" on {one_line(task.worker, 100)}" if task.worker else silent)
    yield from _history(facts, moments)
    if task.lease_ends_s is not None and task.state == "active":
        ends = "ended" if task.lease_ends_s * 1000 < facts.now_ms else "ends"
        yield f"asynq's lease {ends} at {moments.at(task.lease_ends_s * 1000)}; 30 s more are tolerated"
    if task.uncompleted_ticks:
        since = f" since {moments.at(task.uncompleted_since_ms)}" if task.uncompleted_since_ms is not None else ""
        yield f"not completed for {counted(task.uncompleted_ticks, 'tick')}{since}"
    kept = task.kind in {TaskKind.QUEUED, TaskKind.RUNNING}
    yield "at the next tick: " + ("it stays, and no second task is enqueued" if kept else "replaced by a new task")


def _history(facts: Facts, moments: Moments) -> Iterator[str]:
    history = facts.task_history
    if history.failed_ms is not None or history.error:
        failed = "at an unknown time" if history.failed_ms is None else f"at {moments.at(history.failed_ms)}"
        retried = f", after {counted(history.retried, 'retry', 'retries')}" if history.retried else ""
        yield f"last failed {failed}{retried}, on a worker whose name asynq does not store"
    if history.error:
        yield f"error: {history.error}"
    if history.completed_ms is not None:
        yield f"completed at {moments.at(history.completed_ms)}"


def _maintenance(facts: Facts, moments: Moments) -> Iterator[str]:
    found = facts.maintenance
    if found is None:
        return
    ends = f"until {moments.clock(found.ends_ms)}" if found.ends_ms is not None else f"for {HOURS_AHEAD} h or longer"
    if found.is_active:
        yield f"active now, {ends}"
    elif found.begins_ms is None:
        yield f"not now, and not within {HOURS_AHEAD} h"
    else:
        yield f"not now; next from {moments.at(found.begins_ms)} {ends}"


def _anomalies(facts: Facts) -> Iterator[str]:
    problems = facts.row.details.problems if facts.row and facts.row.details else ()
    found = [(anomaly.get("kind", "?"), anomaly.get("reason", "")) for anomaly in facts.anomalies]
    found += [problem for problem in problems if problem not in found]
    for kind, reason in found:
        yield f"{one_line(kind, 60)}: {one_line(reason, 300)}"
    if not found:
        yield "not known" if facts.fleet is None else "none"


def _events(facts: Facts, moments: Moments) -> Iterator[str]:
    for event in facts.events:
        yield f"{moments.clock(event.at_ms)} {one_line(event.kind, 60)}: {one_line(event.message, 300)}"


def _heartbeats(facts: Facts, moments: Moments) -> Iterator[str]:
    if facts.row is None:
        return
    beats = facts.row.heartbeats
    if beats is None:
        yield "could not be read"
        return
    if not beats:
        yield "none: no check has ever been stored"
        return
    yield "  ".join(f"{moments.clock(beat.time.timestamp() * 1000)} {status_of(beat)} {beat.ping} ms" for beat in beats)
