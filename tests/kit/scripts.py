"""The scripts that a producer runs."""

from importlib.resources import files

from peekaping_producer.brokers.asynq_keys import ASYNQ_PRELUDE
from peekaping_producer.redis_client.script import CLOCK, Script
from peekaping_producer.schedule import PRELUDE

SCRIPTS = [
    Script(package, entry.name.removesuffix(".lua"), prelude=CLOCK + prelude)
    for package, prelude in (("peekaping_producer.schedule", PRELUDE), ("peekaping_producer.brokers", ASYNQ_PRELUDE))
    for entry in sorted(files(package).joinpath("scripts").iterdir(), key=lambda each: each.name)
    if entry.name.endswith(".lua") and entry.name != "prelude.lua"
]
"""With the product's own clock."""
SCRIPT_NAMES = {script.sha: script.name for script in SCRIPTS}
"""By SHA."""
