"""Servers that whoever runs the tests provides, by URLs in the environment."""

import os
from urllib.parse import urlsplit

import msgspec

from peekaping_producer.settings.urls import parse_database_url
from peekaping_producer.targets import DatabaseTarget


def database_in(variable: str, *, name: str) -> DatabaseTarget | None:
    """The database of a URL like postgres://user:password@host, called `name`; None where the variable is not set."""
    url = os.environ.get(variable)
    if not url:
        return None
    complete = url if urlsplit(url).path.strip("/") else urlsplit(url)._replace(path=f"/{name}").geturl()
    return msgspec.structs.replace(parse_database_url(complete), name=name)
