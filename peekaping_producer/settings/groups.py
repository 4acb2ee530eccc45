"""Which settings a command reads: those of the groups that it needs, and those of every command."""

from collections.abc import Collection
from typing import Literal, get_args

from pydantic import BaseModel

from peekaping_producer.settings.fields import (
    NAMES,
    Api,
    Broker,
    Consume,
    Messages,
    Producer,
    Schedule,
    Sender,
    Service,
    Startup,
)
from peekaping_producer.settings.servers import Database, Http, RabbitMq, Redis
from peekaping_producer.settings.ui import Ui

SettingsGroup = Literal[
    "schedule",
    "database",
    "redis",
    "producer",
    "service",
    "ui",
    "startup",
    "broker",
    "rabbitmq",
    "http",
    "messages",
    "consume",
    "api",
    "send",
]
"""A group of settings that a command may need; the settings of other groups are not read."""

ALL_GROUPS: frozenset[SettingsGroup] = frozenset(get_args(SettingsGroup))
PRODUCER_GROUPS: frozenset[SettingsGroup] = ALL_GROUPS - {"rabbitmq", "http", "messages", "consume", "api", "send"}
"""Those of a replica."""

_GROUPS: dict[SettingsGroup, type[BaseModel]] = {
    "database": Database,
    "redis": Redis,
    "schedule": Schedule,
    "producer": Producer,
    "service": Service,
    "ui": Ui,
    "startup": Startup,
    "broker": Broker,
    "rabbitmq": RabbitMq,
    "http": Http,
    "messages": Messages,
    "consume": Consume,
    "api": Api,
    "send": Sender,
}


def group_names(group: SettingsGroup) -> frozenset[str]:
    """The names (DB_HOST) of a group's settings."""
    return frozenset(name.upper() for name in _GROUPS[group].model_fields)


def command_names(groups: Collection[SettingsGroup]) -> tuple[str, ...]:
    """The names of the settings that a command reads: those of `groups`, and those of every command."""
    others = {name for group in ALL_GROUPS - set(groups) for name in group_names(group)}
    return tuple(name for name in NAMES if name not in others)
