"""The settings: what they are called, what they take, and how the environment is read.

`load_settings` is the only reader of the environment, and `inspect_settings` the same where something may be wrong.
addresses ← kinds ← fields ← model ← load, table.
"""

from peekaping_producer.settings.load import ALL, inspect_settings, load_settings
from peekaping_producer.settings.model import Settings
from peekaping_producer.settings.types import Need

__all__ = ["ALL", "Need", "Settings", "inspect_settings", "load_settings"]
