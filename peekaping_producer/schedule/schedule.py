"""The schedule in Redis: one typed method per Lua script.

The scripts document what they do to the keys. The only clock is Redis TIME, read in the scripts.
"""

from peekaping_producer.schedule.claiming import Claiming
from peekaping_producer.schedule.leading import Leading
from peekaping_producer.schedule.reading import Reading


class Schedule(Claiming, Leading, Reading):
    """The schedule in one Redis database: claims, the work of the leader, and reads."""
