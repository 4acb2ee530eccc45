"""All that a frame is made of: what was read of Redis, of the replica and of the database, at one instant."""

from collections.abc import Mapping

import msgspec

from peekaping_producer.operations.longest_waits import LongestWaits
from peekaping_producer.operations.look import Look
from peekaping_producer.schedule import Details
from peekaping_producer.ui.details import DueCounts
from peekaping_producer.ui.frame import Failure
from peekaping_producer.ui.names import Named


class Seen(msgspec.Struct, frozen=True):
    """Values only."""

    now_ms: int
    node: str
    program: str
    look: Look
    waits: LongestWaits
    details: Details
    details_failure: Failure | None
    due: Mapping[int, DueCounts]
    names: Mapping[str, Named]
    names_failure: Failure | None
