"""The results of acts as text and as JSON. Fields may be added; VERSION is incremented when one changes its meaning."""

from collections.abc import Iterator
from typing import Any

from peekaping_producer.operations.acts.model import ActOutcome, ActResult
from peekaping_producer.operations.acts.named import Named, NamedResult
from peekaping_producer.operations.explain.text import candidate_lines
from peekaping_producer.operations.moments import Moments
from peekaping_producer.operations.naming import WITHOUT_NAMES, nothing_found
from peekaping_producer.schedule import ALL_MONITORS
from peekaping_producer.service.text import escaped, one_line

VERSION = 1


def named_lines(acted: NamedResult) -> list[str]:
    """Return the outcomes, in the order in which the monitors were named."""
    lines = [line for named in acted.named for line in _lines(acted, named)]
    return lines + _note(acted.result)


def result_lines(result: ActResult) -> list[str]:
    """Return the outcomes of an act on all monitors."""
    return [f"{_level(outcome.done)}  {escaped(outcome.sentence)}" for outcome in result.outcomes] + _note(result)


def named_document(act: str, acted: NamedResult) -> dict[str, Any]:
    """Return the documented form of `--json`."""
    moments = Moments(acted.result.now_ms)
    monitors = [_entry(named, acted.outcome(named), moments, _unknown(acted, named)) for named in acted.named]
    return _document(act, acted.exit_code == 0, acted.result, monitors)


def result_document(act: str, result: ActResult) -> dict[str, Any]:
    """Return the documented form of `--json` for all monitors."""
    moments = Moments(result.now_ms)
    monitors = [_entry(Named(ALL_MONITORS, ALL_MONITORS), outcome, moments) for outcome in result.outcomes]
    return _document(act, result.done, result, monitors)


def _document(act: str, done: bool, result: ActResult, monitors: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "version": VERSION,
        "act": act,
        "at": Moments(result.now_ms).iso(result.now_ms or None),
        "done": done,
        "recorded": result.events_refused is None,
        "monitors": monitors,
    }


def _entry(named: Named, outcome: ActOutcome | None, moments: Moments, unknown: str = "") -> dict[str, Any]:
    code = outcome.code.value if outcome else "ambiguous" if named.candidates else "unknown"
    return {
        "monitor": named.text,
        "id": named.monitor_id or None,
        "name": named.name or None,
        "code": code,
        "done": bool(outcome and outcome.done),
        "sentence": outcome.sentence if outcome else None if named.candidates else unknown,
        "until": moments.iso(outcome.until_ms) if outcome else None,
        "candidates": [{"id": one.id, "name": one.name} for one in named.candidates],
    }


def _lines(acted: NamedResult, named: Named) -> Iterator[str]:
    if outcome := acted.outcome(named):
        name = one_line(named.name, 150)
        yield f"{_level(outcome.done)}  {one_line(named.monitor_id, 64)}  {name}".rstrip()
        yield f"      {escaped(outcome.sentence)}"
    elif named.candidates:
        first, *rest = candidate_lines(named.text, named.candidates)
        yield f"{_level(False)}  {first}"
        yield from (f"    {line}" for line in rest)
    else:
        yield f"{_level(False)}  {one_line(repr(named.text), 100)}"
        yield f"      {_unknown(acted, named)}"


def _unknown(acted: NamedResult, named: Named) -> str:
    """Return why a text names no monitor."""
    if acted.database_error is None:
        return nothing_found(named.text)
    reason = one_line(str(acted.database_error), 500)
    return f"No scheduled monitor has this id, or an id that begins with it. {WITHOUT_NAMES}: {reason}"


def _note(result: ActResult) -> list[str]:
    if result.events_refused is None:
        return []
    return [f"note  Not recorded as a fleet event: {one_line(result.events_refused)}"]


def _level(done: bool) -> str:
    return "ok  " if done else "FAIL"
