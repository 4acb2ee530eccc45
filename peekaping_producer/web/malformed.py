"""Keeps malformed requests out of the log."""

import logging

from aiohttp.http_exceptions import HttpProcessingError


def _is_ours(record: logging.LogRecord) -> bool:
    """Drop the lines in which aiohttp quotes malformed requests: any client could write to our log."""
    return not (record.exc_info and isinstance(record.exc_info[1], HttpProcessingError))


def silence_malformed_requests() -> None:
    """Drop the lines in which aiohttp quotes malformed requests."""
    logging.getLogger("aiohttp.server").addFilter(_is_ours)
