"""The settings: their names, types and defaults, and how they are read.

`load_settings` is the only reader of the environment; `inspect_settings` also returns what is usable of bad settings.
addresses ← types ← fields ← source, model ← load, table.
"""

from peekaping_producer.settings.fields import ALL_GROUPS, SettingsGroup
from peekaping_producer.settings.load import inspect_settings, load_settings
from peekaping_producer.settings.model import Settings
from peekaping_producer.settings.source import ENV_FILES

__all__ = ["ALL_GROUPS", "ENV_FILES", "Settings", "SettingsGroup", "inspect_settings", "load_settings"]
