"""How DB_USER, DB_PASS and DB_NAME can be meant: as they are, or percent-encoded.

Peekaping's Go services put the three into a URL as they are, so that special characters are percent-encoded in an
environment that works there. Their drivers decode all three for Postgres, user and password for MongoDB, and the name
for MySQL.
"""

from urllib.parse import unquote

from peekaping_producer.targets import Dialect, Login


def readings(dialect: Dialect, literal: Login) -> tuple[Login, ...]:
    """The logins to try, in this order, each once: the literal one first (MongoDB: last, as it always was here)."""
    user, password = (text and unquote(text) for text in (literal.user, literal.password))
    name = unquote(literal.name)
    match dialect:
        case "postgres":
            found = [literal, Login(user=user, password=password, name=name)]
        case "mysql":
            go_reading = Login(user=literal.user, password=literal.password, name=name)
            found = [literal, go_reading, Login(user=user, password=password, name=name)]
        case "mongo":
            found = [Login(user=user, password=password, name=literal.name), literal]
        case "sqlite":
            found = [literal]
    return tuple(dict.fromkeys(found))
