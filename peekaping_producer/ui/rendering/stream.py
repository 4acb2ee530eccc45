"""What the stream sends of a frame: the page as nodes, and what the browser requires to complete it."""

import msgspec

from peekaping_producer.operations.verdict import VerdictLevel
from peekaping_producer.ui.frame import Frame
from peekaping_producer.ui.rendering.around import Around, around
from peekaping_producer.ui.rendering.fleet import fleet
from peekaping_producer.ui.rendering.nodes import VERSION, Node, visible


class StreamFrame(msgspec.Struct, frozen=True, kw_only=True):
    """One event of the stream. The fields that `Frame` and its verdict have, too, are as there."""

    version: int = VERSION
    now_ms: int
    node: str
    program: str
    code: str
    level: VerdictLevel
    sentence: str
    held: bool
    """Whether all monitors are held."""
    scheduled: int
    around: Around
    body: list[Node]
    """What is below the header."""


def render(frame: Frame) -> StreamFrame:
    """Return the frame as the page shows it."""
    found = frame.verdict
    return StreamFrame(
        now_ms=frame.now_ms,
        node=visible(frame.node),
        program=frame.program,
        code=found.code,
        level=found.level,
        sentence=found.sentence,
        held=frame.hold is not None,
        scheduled=frame.scheduled,
        around=around(frame),
        body=fleet(frame),
    )
