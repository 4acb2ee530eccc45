"""Steps on the wire: a step is one run of one of the product's scripts."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from hiredis import Reader


@dataclass(eq=False, slots=True)
class Step:
    """One run of a script; keys and arguments as they were sent."""

    script: str
    keys: list[bytes]
    args: list[bytes]
    answer: bytes = b""
    """What the server answered, undecoded; b"" until it has."""

    @property
    def reply(self) -> Any:
        """The answer: bytes, ints, lists of them, None; hiredis.ReplyError where refused. Decoded at each look."""
        if not self.answer:
            raise ValueError(f"{self.script} has no answer yet")
        reader = Reader()
        reader.feed(self.answer)
        return reader.gets()

    @property
    def refused(self) -> bool:
        """Whether the answer is an error: NOSCRIPT, OOM, READONLY, ..."""
        return self.answer.startswith(b"-")

    @property
    def forgotten(self) -> bool:
        """Whether the server did not have the script, so that its text will follow."""
        return self.answer.startswith(b"-NOSCRIPT")


def line_of(step: Step, producer: str) -> dict[str, Any] | None:
    """The line of the history (without `at`) that an answered step of `producer` makes, if it makes one.

    claimed: {"kind", "producer", "token", "monitors": {id: due time in ms}}, none where nothing was due
    handed:  {"kind", "producer", "token", "outcomes": {id: outcome}}; the outcome is the script's: where a producer
             repeats a hand-off it reports `unconfirmed` for what is `lost` here
    led:     {"kind", "producer", "term", "script", "accepted": bool}
    acted:   {"kind", "who", "act", "outcomes": {id: outcome}, "redis_ms", "until_ms": of a hold}, by a person
    Bytes that are not UTF-8 are written \\xff. What was refused (an error) makes no line.
    """
    layout = _LAYOUTS.get(step.script)
    if layout is None or step.refused:
        return None
    line = layout(step)
    return line and {"who" if line["kind"] == "acted" else "producer": producer, **line}


def _claimed(step: Step) -> dict[str, Any] | None:
    _, token, _, flat, *_ = step.reply
    if not flat:
        return None
    monitors = {_text(id_): max(float(score), 0.0) for id_, score in zip(flat[::2], flat[1::2], strict=True)}
    return {"kind": "claimed", "token": _text(token), "monitors": monitors}


def _handed(step: Step) -> dict[str, Any]:
    width = int(step.args[4])
    ids = [_text(id_) for id_ in step.args[5::width]]
    outcomes = dict.fromkeys(ids, "enqueued")
    _, not_enqueued, *_ = step.reply
    for index, outcome in zip(not_enqueued[::2], not_enqueued[1::2], strict=True):
        outcomes[ids[index - 1]] = _text(outcome)
    return {"kind": "handed", "token": _text(step.args[0]), "outcomes": outcomes}


def _led(step: Step) -> dict[str, Any]:
    reply = step.reply
    accepted = reply[0] != b"stale" if step.script == "place" else reply != -1
    return {"kind": "led", "term": _text(step.args[0]), "script": step.script, "accepted": accepted}


def _run_now(step: Step) -> dict[str, Any]:
    now_ms, outcomes, *_ = step.reply
    return _acted("run_now", now_ms, step.args[0::2], outcomes)


def _hold(step: Step) -> dict[str, Any]:
    now_ms, until_ms, outcomes, _ = step.reply
    return _acted("hold", now_ms, step.args[3::4], outcomes) | {"until_ms": int(until_ms)}


def _release(step: Step) -> dict[str, Any]:
    now_ms, outcomes, _ = step.reply
    return _acted("release", now_ms, step.args[0::4], outcomes)


def _acted(act: str, now_ms: int, ids: list[bytes], outcomes: list[bytes]) -> dict[str, Any]:
    named = dict(zip(map(_text, ids), map(_text, outcomes), strict=True))
    return {"kind": "acted", "act": act, "outcomes": named, "redis_ms": now_ms}


_LAYOUTS: dict[str, Callable[[Step], dict[str, Any] | None]] = {
    "claim": _claimed,
    "hand_off": _handed,
    "place": _led,
    "move": _led,
    "remove": _led,
    "expel": _led,
    "run_now": _run_now,
    "hold": _hold,
    "release": _release,
}


def _text(value: bytes) -> str:
    return value.decode(errors="backslashreplace")
