"""Logins to try for DB_USER, DB_PASS and DB_NAME: as they are, and percent-decoded.

Peekaping's Go services put the three into a URL as they are, so an environment that works there has special characters
percent-encoded. Their drivers decode all three for Postgres, user and password for MongoDB, and the name for MySQL and
SQLite.
"""

import re
from urllib.parse import unquote

from peekaping_producer.settings.texts import strip_wrapping
from peekaping_producer.targets import Dialect, Login


def login_candidates(dialect: Dialect, literal: Login) -> tuple[Login, ...]:
    """The logins to try, in this order, each once: the literal one first (MongoDB: after the decoded one).

    Then the same without the whitespace and quotes around the password.
    """
    found: list[Login] = []
    for password in (literal.password, literal.password and strip_wrapping(literal.password)):
        as_given = Login(user=literal.user, password=password, name=literal.name)
        found += _decodings(dialect, as_given)
    return tuple(dict.fromkeys(found))


def passwords(text: str) -> set[str]:
    """The passwords of all readings if DB_PASS is `text`."""
    return {text, unquote(text), strip_wrapping(text), unquote(strip_wrapping(text))}


def _decodings(dialect: Dialect, given: Login) -> list[Login]:
    user, password = (text and unquote(text) for text in (given.user, given.password))
    name = unquote(given.name)
    match dialect:
        case "postgres":
            return [given, Login(user=user, password=password, name=name)]
        case "mysql":
            go_reading = Login(user=given.user, password=given.password, name=name)
            return [given, go_reading, Login(user=user, password=password, name=name)]
        case "mongo":
            return [Login(user=user, password=password, name=given.name), given]
        case "sqlite":
            # The Go services make a URI of it, whose path ends at a question mark.
            return [given, Login(user=None, password=None, name=unquote(re.split("[?#]", given.name)[0]))]
