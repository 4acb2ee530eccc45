"""Load settings from the environment that a test passes, and from nothing else."""

from collections.abc import Collection
from pathlib import Path

import pytest

from peekaping_producer.errors import ConfigError
from peekaping_producer.settings import PRODUCER_GROUPS, Settings, SettingsGroup, load_settings

PARTS = {"DB_TYPE": "postgres", "DB_HOST": "db", "DB_PORT": "5432", "DB_NAME": "n", "DB_USER": "u", "DB_PASS": "p"}
NOWHERE = Path("/nonexistent/.env")
HARD = "p@ss:/?#%&=+ wörd'\""
ENCODED = "p%40ss%3A%2F%3F%23%25%26%3D%2B%20w%C3%B6rd%27%22"


def load(groups: Collection[SettingsGroup] = PRODUCER_GROUPS, dotenv: Path = NOWHERE, /, **environ: str) -> Settings:
    return load_settings(groups, environ=environ, env_files=[dotenv])


def problems(
    groups: Collection[SettingsGroup] = PRODUCER_GROUPS, dotenv: Path = NOWHERE, /, **environ: str
) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(groups, dotenv, **environ)
    return list(caught.value.problems)
