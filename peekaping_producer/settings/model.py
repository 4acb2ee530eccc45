"""The settings of one process: their values, origins, warnings and secrets, and what follows from them."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Literal, Self, TypeVar

from pydantic import PrivateAttr, SecretStr, ValidationInfo, field_validator

from peekaping_producer.errors import ConfigError
from peekaping_producer.settings import server_targets
from peekaping_producer.settings.fields import Fields
from peekaping_producer.settings.groups import SettingsGroup, group_names
from peekaping_producer.settings.logins import passwords
from peekaping_producer.settings.texts import has_forbidden_characters
from peekaping_producer.settings.types import WebUrl, listening_address
from peekaping_producer.settings.ui_access import UiAccess, ui_access
from peekaping_producer.settings.url_parts import parts_of_urls
from peekaping_producer.settings.urls import passwords_in
from peekaping_producer.targets import DatabaseTarget, HttpTarget, RabbitMqTarget, RedisTarget, secrets_in_url

T = TypeVar("T")


class Settings(Fields, frozen=True, extra="forbid", hide_input_in_errors=True):
    """All settings, their origins, and what is wrong with them. None is a setting without a value.

    The methods that return targets and `ui_access` check whether settings fit together, and raise ConfigError.
    """

    _origins: dict[str, str] = PrivateAttr(default_factory=dict)
    _invalid: dict[str, str] = PrivateAttr(default_factory=dict)
    _warnings: tuple[str, ...] = PrivateAttr(default=())

    @field_validator("*", mode="before")
    @classmethod
    def _refuse_hidden_characters(cls, given: object, info: ValidationInfo) -> object:
        if isinstance(given, str) and has_forbidden_characters(str(info.field_name).upper(), given):
            raise ValueError("contains a control or invisible character")
        return given

    def origin(self, name: str) -> str:
        """The origin of a setting (DB_HOST): environment, the path of a `.env` file, file, default, or not read."""
        return self._origins.get(name, "default")

    @property
    def invalid(self) -> Mapping[str, str]:
        """The bad settings as they may be shown; here they have their defaults."""
        return self._invalid

    def with_notes(self, origins: dict[str, str], invalid: dict[str, str], warnings: Iterable[str]) -> Self:
        """A copy with the origins, the bad settings as they may be shown, and the warnings."""
        copy = self.model_copy()
        copy._origins = origins
        copy._invalid = invalid
        copy._warnings = tuple(warnings)
        return copy

    @property
    def _urls(self) -> dict[str, str]:
        """The URLs of servers that are set, by name."""
        urls = {"DATABASE_URL": self.database_url, "REDIS_URL": self.redis_url, "RABBITMQ_URL": self.rabbitmq_url}
        return {name: url.get_secret_value() for name, url in urls.items() if url}

    @property
    def in_urls(self) -> dict[str, tuple[object, str]]:
        """By the names of the parts (DB_HOST) that a URL replaces: the value in the URL, and the URL's name."""
        return parts_of_urls(self._urls)

    def as_environment(self, group: SettingsGroup) -> dict[str, str]:
        """The given settings of a group as variables for a process in another working directory."""
        names = {name for name in self.model_fields_set if name.upper() in group_names(group)}
        return {name.upper(): _as_variable(name, value) for name, value in self if name in names}

    @property
    def uses_asynq(self) -> bool:
        """Whether tasks are enqueued in asynq's queue."""
        return self.broker in {None, "asynq"}

    @property
    def metrics_address(self) -> tuple[str, int] | None:
        """(host, port) of probes and metrics; None if they are off."""
        return listening_address(self.metrics_addr)

    @property
    def ui_address(self) -> tuple[str, int] | None:
        """(host, port) of the page; None if it is off."""
        return listening_address(self.ui_addr)

    @property
    def ui_addr_explicit(self) -> bool:
        """Whether UI_ADDR is set; its port must then be free."""
        return "ui_addr" in self.model_fields_set

    @property
    def metrics_addr_explicit(self) -> bool:
        """Whether METRICS_ADDR is set; its port must then be free."""
        return "metrics_addr" in self.model_fields_set

    @property
    def log_mode(self) -> Literal["dev", "prod", "test"]:
        """MODE; if it is not set, what FLASK_ENV means."""
        if self.flask_env and "mode" not in self.model_fields_set:
            return "dev" if self.flask_env == "development" else "prod"
        return self.mode

    @property
    def warnings(self) -> tuple[str, ...]:
        """Sentences about settings that work but are probably a mistake."""
        return self._warnings

    @property
    def secrets(self) -> frozenset[str]:
        """All texts that must not be shown: passwords, tokens, URLs, and the secrets in URLs, as written and decoded.

        A WebUrl itself may be shown.
        """
        texts: list[str] = []
        for _, value in self:
            if isinstance(value, WebUrl):
                texts += secrets_in_url(value.get_secret_value())
            elif isinstance(value, SecretStr):
                texts.append(value.get_secret_value())
        texts += passwords(self.db_pass.get_secret_value()) if self.db_pass else ()
        for name, url in self._urls.items():
            texts += passwords_in(name, url)
        return frozenset(filter(None, texts))

    def redis_target(self) -> RedisTarget:
        """The Redis server of these settings. Raises ConfigError."""
        return self._without_problems(server_targets.redis_target)

    def database_target(self) -> DatabaseTarget:
        """The database of these settings. Raises ConfigError."""
        return self._without_problems(server_targets.database_target)

    def rabbitmq_target(self) -> RabbitMqTarget:
        """The RabbitMQ server and queue of these settings. Raises ConfigError."""
        return self._without_problems(server_targets.rabbitmq_target)

    def http_target(self) -> HttpTarget:
        """The HTTP endpoint of these settings. Raises ConfigError."""
        return server_targets.http_target(self)

    def api_target(self) -> HttpTarget:
        """The endpoint of `send`."""
        return server_targets.api_target(self)

    def ui_access(self) -> UiAccess:
        """Who may see the page, and who may act. Raises ConfigError."""
        return self._without_problems(ui_access)

    def _without_problems(self, derive: Callable[[Fields, list[str]], T]) -> T:
        """Derive a value from the settings. Raises ConfigError with the contradictions that `derive` adds to a list."""
        problems: list[str] = []
        value = derive(self, problems)
        if problems:
            raise ConfigError(problems)
        return value


def _as_variable(name: str, value: object) -> str:
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    return str(Path(str(value)).absolute() if name.endswith("_file") else value)
