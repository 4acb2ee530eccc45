"""The file of a SQLite database: its path, and what SQLite's errors mean."""

import os
import sqlite3
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from urllib.parse import quote

from peekaping_producer.errors import ConfigError, StoreError, StoreRefusedError, StoreUnavailableError
from peekaping_producer.service.text import first_sentence
from peekaping_producer.stores.errors import CREATE_TABLES, as_store_errors
from peekaping_producer.stores.server_driver import check_params
from peekaping_producer.targets import DatabaseTarget


class SqliteFileError(StoreRefusedError, ConfigError):
    """DB_NAME is not the path of a usable database file: a bad setting at start, a StoreError later."""


def read_only_uri(path: Path) -> str:
    """The argument of sqlite3.connect(uri=True) to read `path`, whatever characters it contains."""
    return f"file:{quote(str(path))}?mode=ro"


def path_of(target: DatabaseTarget) -> Path:
    """Where the file is, or would be created: the first candidate of DB_NAME that names a file, else the first."""
    paths = [Path(candidate.name).absolute() for candidate in target.candidates]
    return next(filter(os.path.isfile, paths), paths[0])


def existing_path(target: DatabaseTarget) -> Path | None:
    """The file's path; None where there is no file yet, in a directory that exists.

    Raises SqliteFileError for anything else, without opening it: a named pipe would block; ConfigError for parameters.
    """
    check_params(target, set(), "no parameters")
    path = path_of(target)
    try:
        if not path.exists():
            if why := _no_new_file(path, target.name):
                raise _unusable(target, why)
            return None
        if path.is_dir():
            raise _unusable(target, "it is a directory")
        if not path.is_file():
            raise _unusable(target, "it is not a regular file")
    except OSError as error:
        raise _unusable(target, error.strerror or "it cannot be read") from None
    if not os.access(path, os.R_OK):
        raise _unusable(target, "no read permission; grant it to this user")
    return path


def _no_new_file(path: Path, written: str) -> str | None:
    """Why no file can be created at `path`, which is `written` in the setting; None where it can."""
    if ":memory:" in written:
        return "a database in memory cannot be shared with the API server; write the path of its file"
    if written.lower().startswith("file:"):
        return "URIs are not supported; write the path alone"
    if written == "~" or (written.startswith("~") and "/" in written):
        return "~ is not expanded; write the home directory's path"
    for directory in reversed(path.parents):
        if not directory.exists():
            return f"the directory {path.parent} does not exist"
        if not directory.is_dir():
            return f"the directory {path.parent} cannot exist: {directory} is a file"
    return None


def _unusable(target: DatabaseTarget, reason: str) -> SqliteFileError:
    path = path_of(target)
    return SqliteFileError([f"{target.named_in}: expected the path of a SQLite file, got {path}: {reason}"])


def translated(target: DatabaseTarget) -> AbstractContextManager[None]:
    """Raise what SQLite raises as a StoreError."""
    return as_store_errors(target, partial(_store_error, target))


def _store_error(target: DatabaseTarget, error: Exception, prefix: str) -> StoreError | None:
    if not isinstance(error, sqlite3.Error):
        return None
    code, text = getattr(error, "sqlite_errorname", type(error).__name__), first_sentence(str(error))
    match code:
        case _ if text.startswith(("no such table", "no such column")):
            return StoreRefusedError(f"{prefix}: {text}; {CREATE_TABLES}")
        case "SQLITE_ERROR":  # about a statement; it names tables and columns only
            return StoreRefusedError(f"{prefix}: {text}")
        case "SQLITE_NOTADB":
            return _unusable(target, "it is not a SQLite database")
        case "SQLITE_CORRUPT":
            return StoreRefusedError(f"{prefix}: the database is damaged ({code}): restore it from a backup")
        case _ if code.startswith(("SQLITE_CANTOPEN", "SQLITE_PERM", "SQLITE_AUTH")):
            return _unusable(
                target, f"it cannot be opened ({code}); check the permissions of the file and its directory"
            )
        case "SQLITE_READONLY" | "SQLITE_READONLY_DIRECTORY":
            return _unusable(
                target, f"no write permission for the file or its directory ({code}); grant it to this user"
            )
        case _ if code.startswith("SQLITE_READONLY"):
            return StoreUnavailableError(
                f"{prefix}: its -wal and -shm files are missing and may not be created ({code}): "
                "let this user write to the directory, or start the API server"
            )
        case _:
            return StoreUnavailableError(f"{prefix}: SQLite failed ({code})")
