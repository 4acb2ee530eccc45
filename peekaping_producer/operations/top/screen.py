"""The screen: lines for a view and the state of the keys, for any size of terminal."""

from peekaping_producer.operations.top.axis import axis_lines
from peekaping_producer.operations.top.keys import Controls
from peekaping_producer.operations.top.replica_table import replica_lines
from peekaping_producer.operations.top.styled import Line, Part, Style, between, flowed, plain, wrapped
from peekaping_producer.operations.top.view import View
from peekaping_producer.operations.verdict import Verdict
from peekaping_producer.service.text import clock_time, counted, duration, one_line

_STYLES = {"good": Style.GOOD, "warn": Style.WARN, "bad": Style.BAD}
_KEYS = "q quit   p freeze   1/0 span of 1 or 10 min   / explain a monitor"


def screen(view: View, controls: Controls, width: int, height: int, *, unicode: bool) -> list[Line]:
    """Return at most `height` lines; what has no room at the bottom is left out."""
    lines = [*_head(view, width), [], *_body(view, controls, width, unicode=unicode)]
    last = [(controls.prompt_line or _KEYS, Style.BOLD if controls.prompt_line else Style.DIM)]
    return [*lines[: max(height - 1, 0)], last][:height]


def _body(view: View, controls: Controls, width: int, *, unicode: bool) -> list[Line]:
    if controls.text is not None:
        return [plain(line) for line in controls.text]
    stale = view.look.redis_failure is not None
    lines: list[Line] = []
    if stale and view.look.stats:
        lines += [[(f"As of {clock_time(view.now_ms, view.now_ms)}:", Style.WARN)]]
    lines += [*axis_lines(view, width, unicode=unicode), [], *flowed(_facts(view), width)]
    lines += wrapped(view.hint, width, Style.WARN)
    lines += [[], *replica_lines(view.look, width), []]
    return lines + [_event(view, n) for n in range(len(view.events))]


def _head(view: View, width: int) -> list[Line]:
    found = view.verdict
    clock: list[Part] = [(f"{clock_time(view.now_ms, view.now_ms)} UTC" if view.now_ms else "", Style.DIM)]
    title: list[Part] = [("peekaping-producer", Style.BOLD)]
    leader: list[Part] = [(f"   {leader_of(view)}", Style.PLAIN)]
    sentence = wrapped(found.sentence, width, style_of(found))
    return [between(title, [*clock, *leader], width), *sentence, *wrapped(found.details, width, Style.DIM)]


def style_of(found: Verdict) -> Style:
    """Return the color of a verdict."""
    return _STYLES[found.level]


def leader_of(view: View) -> str:
    """Return who leads, as text."""
    stats = view.look.stats
    if stats is None:
        return "leader unknown"
    if stats.leader is None:
        return "no replica leads"
    return f"{view.look.name(stats.leader.partition('/')[0])} leads"


def _facts(view: View) -> list[Part]:
    stats, look = view.look.stats, view.look
    facts = [(f"scheduled {stats.scheduled if stats else 0:,}", Style.PLAIN)]
    overdue = stats.overdue if stats else 0
    facts.append((f"overdue {overdue:,}", Style.BAD if overdue and look.is_late else Style.PLAIN))
    late = view.late_p99_s
    facts.append((f"late p99 {'-' if late is None else duration(late)}", Style.PLAIN))
    facts.append((f"handed off {look.handed_off_per_s:,.0f}/s", Style.PLAIN))
    if look.queue:
        waits = look.queue.oldest_pending_s
        pending = f"pending {look.queue.depths.get('pending', 0):,}"
        facts.append((pending if waits is None else f"{pending}, first for {duration(waits)}", Style.PLAIN))
        needed = "" if look.slots_needed is None else f", about {look.slots_needed:,} needed"
        facts.append((f"{look.busy_slots:,} of {counted(look.slots, 'slot')} busy{needed}", Style.PLAIN))
    recent = sum(event.at_ms > view.now_ms - 60_000 for event in view.events)
    if view.details.events_refused:
        facts.append(("events refused", Style.WARN))
    else:
        facts.append((f"{counted(recent, 'event')} in the last minute", Style.PLAIN))
    return facts


def _event(view: View, n: int) -> Line:
    event = view.events[n]
    about = f"{one_line(event.monitor_id, 64)}: " if event.monitor_id else ""
    kind, message = one_line(event.kind, 40), one_line(event.message, 300)
    at = clock_time(event.at_ms, view.now_ms)
    by = f", by {one_line(event.who, 60)}" if event.who else ""
    return [(f"{at}  ", Style.DIM), (f"{kind:<20}  {about}{message}{by}", Style.PLAIN)]


def line_of(view: View) -> str:
    """Return the view as one line, for an output that is no terminal."""
    found, stats = view.verdict, view.look.stats
    parts = [found.sentence.rstrip(".")]
    if stats and view.look.redis_failure is None:
        late = view.late_p99_s
        parts.append(f"{stats.scheduled:,} scheduled, {stats.overdue:,} overdue")
        parts.append(f"{view.look.handed_off_per_s:,.0f} handed off a second")
        parts += [] if late is None else [f"late p99 {duration(late)}"]
        parts += [f"{view.look.queue.depths.get('pending', 0):,} pending"] if view.look.queue else []
        parts.append(f"{counted(len(view.look.reports), 'replica')}, {leader_of(view)}")
    at = clock_time(view.now_ms, view.now_ms) if view.now_ms else "--:--:--"
    return one_line(f"{at}  {'; '.join(parts)}", 1000)
