"""How DB_USER, DB_PASS and DB_NAME can be meant: as they are, or percent-encoded.

Peekaping's Go services put the three into a URL as they are, so that special characters are percent-encoded in an
environment that works there. Their drivers decode all three for Postgres, user and password for MongoDB, and the name
for MySQL and SQLite.
"""

import re
from urllib.parse import unquote

from peekaping_producer.settings.environment import cleaned
from peekaping_producer.targets import Dialect, Login


def readings(dialect: Dialect, literal: Login) -> tuple[Login, ...]:
    """The logins to try, in this order, each once: the literal one first (MongoDB: last, as it always was here).

    After them come the same with the password's blanks, line ends and quotes taken off.
    """
    found: list[Login] = []
    for password in (literal.password, literal.password and cleaned(literal.password)):
        as_given = Login(user=literal.user, password=password, name=literal.name)
        found += _decodings(dialect, as_given)
    return tuple(dict.fromkeys(found))


def passwords(text: str) -> set[str]:
    """Every password that one of the readings has, where DB_PASS is `text`."""
    return {text, unquote(text), cleaned(text), unquote(cleaned(text))}


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
            # SQLite gets a URI of it from the Go services, whose path ends at a question mark.
            return [given, Login(user=None, password=None, name=unquote(re.split("[?#]", given.name)[0]))]
