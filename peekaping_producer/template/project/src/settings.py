"""The settings, from environment variables."""

from collections.abc import Mapping
from dataclasses import dataclass


class SettingsError(Exception):
    """Variables are missing or wrong. The message has one line for each."""


@dataclass(frozen=True)
class Settings:
    """What the environment configures."""

    debug: bool
    """DEBUG=1: the development server with reload, and debug logs. Any other value: waitress."""
    host: str
    port: int


def load_settings(environment: Mapping[str, str]) -> Settings:
    """Read all variables. Raises SettingsError, which names every one that is missing or wrong."""
    problems = []

    def required(name: str, expected: str) -> str:
        value = environment.get(name, "")
        if not value:
            problems.append(f"{name}: expected {expected}, got nothing")
        return value

    debug = required("DEBUG", "1 (development server) or 0 (waitress)")
    host = required("WAITRESS_HOST", "an address, for example 127.0.0.1")
    port = required("WAITRESS_PORT", "a port (1-65535), for example 8000")
    if port and not (port.isascii() and port.isdigit() and 1 <= int(port) <= 65535):
        problems.append(f"WAITRESS_PORT: expected a port (1-65535), got {port!r}")
    if problems:
        raise SettingsError("\n".join(problems))
    return Settings(debug == "1", host, int(port))
