"""The source of all settings: the environment, `.env` files, and the files that NAME_FILE names."""

import codecs
import os
from collections.abc import Collection, Mapping, Sequence
from collections.abc import Set as AbstractSet
from pathlib import Path

import msgspec
from pydantic_settings import BaseSettings, EnvSettingsSource

from peekaping_producer.errors import ConfigError
from peekaping_producer.settings.fields import NAMES
from peekaping_producer.settings.groups import PRODUCER_GROUPS, SettingsGroup, command_names, group_names
from peekaping_producer.settings.texts import FROM_FILES, normalize
from peekaping_producer.settings.types import file_bytes
from peekaping_producer.settings.urls import names_database

ENV_FILES = (Path(".env"),)
DATABASE_PARTS = frozenset({"DB_HOST", "DB_PORT", "DB_NAME", "DB_USER", "DB_PASS"})
REDIS_ADDRESS = frozenset({"REDIS_HOST", "REDIS_PORT"})
RABBITMQ_PARTS = frozenset({"RABBITMQ_HOST", "RABBITMQ_PORT", "RABBITMQ_USER", "RABBITMQ_PASS", "RABBITMQ_VHOST"})
EMPTY_IS_OFF = frozenset({"METRICS_ADDR", "UI_ADDR"})
"""An empty value of any other setting counts as not set."""
_REDIS_LOGIN = frozenset({"REDIS_USERNAME", "REDIS_PASSWORD", "REDIS_DB"})
_REDIS_PARTS = REDIS_ADDRESS | _REDIS_LOGIN | {"REDIS_SENTINELS", "REDIS_SENTINEL_MASTER"}


class RawValue(msgspec.Struct, frozen=True):
    """A setting's text; its origin: `environment`, `file` or the path of a `.env` file; why it cannot be read."""

    text: str
    origin: str
    problem: str | None = None


_GROUPS_OF_BROKERS: Mapping[str, AbstractSet[SettingsGroup]] = {
    "asynq": {"redis"},
    "rabbitmq": {"rabbitmq"},
    "http": {"http"},
}


class Source(EnvSettingsSource):
    """The settings that apply to a command: those of the groups in `groups` that no URL (nor sqlite) replaces.

    Raises ConfigError for a `.env` file that cannot be read.
    """

    # The promises that pydantic-settings' own sources do not keep: Go's rules for `.env`, an error for a `.env` that
    # cannot be read (DotEnvSettingsSource skips a directory), and the origin of every value.

    def __init__(
        self,
        settings_cls: type[BaseSettings],
        groups: Collection[SettingsGroup] = PRODUCER_GROUPS,
        environ: Mapping[str, str] | None = None,
        env_files: Sequence[Path] = ENV_FILES,
    ) -> None:
        super().__init__(settings_cls)
        self._environ = os.environ if environ is None else environ
        # Later files override earlier ones.
        self._in_files = {
            name: RawValue(normalize(name, text), str(path))
            for path in env_files
            for name, text in read_dotenv(path).items()
        }
        self.names = {*self._environ, *self._in_files}
        self.groups = self._with_broker(groups)
        names = command_names(self.groups)
        found = {name: given for name in names if (given := self._find_with_file(name))}
        self.not_read = set(NAMES).difference(names) | _replaced_names(found)
        self.replaced = {name: found.pop(name) for name in self.not_read & found.keys()}
        self.problems = [value.problem for value in found.values() if value.problem]
        self.given = {name: value for name, value in found.items() if value.text or name in EMPTY_IS_OFF}
        self.env_vars = {name: value.text for name, value in self.given.items()}

    def _with_broker(self, groups: Collection[SettingsGroup]) -> frozenset[SettingsGroup]:
        """The groups of a command, and that of the broker that BROKER names."""
        if "broker" not in groups:
            return frozenset(groups)
        given = self._find("BROKER")
        name = given.text.lower() if given and given.text else "rabbitmq" if "messages" in groups else "asynq"
        return frozenset(groups) | _GROUPS_OF_BROKERS.get(name, frozenset())

    def get_field_value(self, field: object, field_name: str) -> tuple[str | None, str, bool]:
        """The text of a field, its key, and whether it is JSON. Names are exact: NAME, not name."""
        return self.env_vars.get(field_name.upper()), field_name, False

    def _find(self, name: str) -> RawValue | None:
        """The environment overrides `.env` files, unless the value is empty there."""
        text = normalize(name, self._environ.get(name, ""))
        if text or (name in self._environ and name not in self._in_files):
            return RawValue(text, "environment")
        return self._in_files.get(name)

    def _find_with_file(self, name: str) -> RawValue | None:
        """The setting `name`, or the content of the file that NAME_FILE names."""
        found = self._find(name)
        path = self._find(f"{name}_FILE") if name in FROM_FILES else None
        if path is None or not path.text:
            return found
        if found and found.text:
            return msgspec.structs.replace(found, problem=f"{name}: expected {name} or {name}_FILE, got both")
        try:
            return RawValue(normalize(name, _content(path.text)), "file")
        except ValueError as error:
            problem = f"{name}_FILE: expected the path of a readable file, got {path.text!r} ({error})"
            return RawValue("", "file", problem)


def read_dotenv(path: Path) -> dict[str, str]:
    """The names and values of a `.env` file; none if the file does not exist.

    The rules are those of Peekaping's Go services, so that one file serves both: one NAME=value a line; whitespace
    around both, then all quotes at the value's ends are removed; if a name is repeated, the last line applies. There
    are no inline comments, no `export` and no ${substitution}: a password may contain # and $. Raises ConfigError.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise ConfigError([f"{path}: cannot be read ({error.strerror}); make it readable or remove it"]) from None
    except UnicodeDecodeError:
        raise ConfigError([f"{path}: cannot be read; save it as UTF-8"]) from None
    values: dict[str, str] = {}
    for line in text.split("\n"):
        name, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            values[name.strip()] = value.strip().strip("\"'")
    return values


def _content(path: str) -> str:
    """The text of a secret's file, without a byte order mark and one newline at its end. Raises ValueError."""
    raw = file_bytes(path)
    if raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise ValueError("UTF-16 text; save it as UTF-8")
    try:
        return raw.decode("utf-8-sig").removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        raise ValueError("not UTF-8 text") from None


def _replaced_names(found: Mapping[str, RawValue]) -> set[str]:
    """The names that a URL (even one that cannot be read), sentinels or sqlite replace."""
    texts = {name: value.text for name, value in found.items() if value.text or value.problem}
    replaced: set[str] = set()
    if "REDIS_URL" in texts:
        replaced |= _REDIS_PARTS
    elif "REDIS_SENTINELS" in texts:
        replaced |= REDIS_ADDRESS
    if "RABBITMQ_URL" in texts:
        replaced |= RABBITMQ_PARTS
    if "DATABASE_URL" in texts:
        replaced |= DATABASE_PARTS - (set() if names_database(texts["DATABASE_URL"]) else {"DB_NAME"})
    elif texts.get("DB_TYPE", "").lower() == "sqlite":
        replaced |= group_names("database") - {"DB_TYPE", "DB_NAME", "DATABASE_URL"}
    return replaced
