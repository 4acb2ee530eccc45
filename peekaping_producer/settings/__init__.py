"""The settings: their names, types and defaults, and how they are read.

`load_settings` is the only reader of the environment; `inspect_settings` also returns the valid ones of bad settings.

- texts: rules for the text of a value
- addresses, sentinels, types: values and their validators
- servers, ui: the settings of the servers and of the page
- fields: all other settings, and all of them together
- groups: which settings a command reads
- parameters, urls, url_parts: DATABASE_URL, REDIS_URL and RABBITMQ_URL
- tls: the TLS of a server
- ui_access: who may see the page, and who may act
- logins: the logins to try for DB_USER, DB_PASS and DB_NAME
- server_targets: the servers that settings describe
- model: the settings of one process, with their origins, secrets and warnings
- source: the environment, `.env` files and secret files
- lookalikes, warnings: probable mistakes
- load: everything together
- table: the settings as text, for `check-config`, `--help` and docs
"""

from peekaping_producer.settings.groups import ALL_GROUPS, PRODUCER_GROUPS, SettingsGroup
from peekaping_producer.settings.load import inspect_settings, load_settings
from peekaping_producer.settings.model import Settings
from peekaping_producer.settings.source import ENV_FILES
from peekaping_producer.settings.ui_access import UiAccess

__all__ = [
    "ALL_GROUPS",
    "ENV_FILES",
    "PRODUCER_GROUPS",
    "Settings",
    "SettingsGroup",
    "UiAccess",
    "inspect_settings",
    "load_settings",
]
