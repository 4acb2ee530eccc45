"""The files of the page, from the package: names that contain a hash of the content, so that browsers keep them."""

import gzip
import re
from hashlib import sha256
from http import HTTPStatus
from pathlib import Path

import msgspec
from aiohttp import web

from peekaping_producer.web.refusals import RequestError

FOLDER = Path(__file__).parent / "static"
SHELL = "index.html"
_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
"""By suffix; files of other types are not served."""
_REFERENCE = re.compile(rb"(?:/static/|\./)([a-z0-9_-]+\.(?:js|css|svg))\b")
"""How files refer to each other: `/static/app.css`, `./text.js`."""
_COMMENT = re.compile(rb"^ *(?://.*|/\*\*.*\*/)$", re.MULTILINE)
"""Comments on lines of their own are not sent; the lines stay, so that their numbers are those of the source."""
_IMMUTABLE = "public, max-age=31536000, immutable"


class File(msgspec.Struct, frozen=True):
    """A file as it is sent."""

    name: str
    """With the hash: `app.0123456789ab.js`."""
    content_type: str
    body: bytes
    """With the names of other files replaced by those with hashes, and scripts without comments."""
    compressed: bytes
    """By gzip."""


class StaticFiles:
    """All files, read once."""

    def __init__(self, folder: Path = FOLDER) -> None:
        """Raise ValueError if a file refers to one that does not exist, or to itself through others."""
        self._folder = folder
        self._files: dict[str, File] = {}
        self._reading: list[str] = []
        for path in sorted(folder.glob("*")):
            if path.suffix in _TYPES:
                self._read(path.name)
        self._by_name = {file.name: file for file in self._files.values()}
        self._shell = self._files.get(SHELL)

    @property
    def files(self) -> list[File]:
        """All files."""
        return list(self._files.values())

    def shell(self, request: web.Request) -> web.Response:
        """Answer with the page itself, which the browser asks for again each time."""
        if self._shell is None:
            raise RequestError(HTTPStatus.NOT_FOUND, "The files of the page are missing.")
        return _answer(request, self._shell, "no-cache")

    async def serve(self, request: web.Request) -> web.Response:
        """Answer with the file of the path's `name`."""
        file = self._by_name.get(request.match_info["name"])
        if file is None or file is self._shell:
            raise RequestError(HTTPStatus.NOT_FOUND, "The page has no such file; reload it.")
        return _answer(request, file, _IMMUTABLE)

    def _read(self, name: str) -> File:
        if name in self._files:
            return self._files[name]
        if name in self._reading:
            raise ValueError(f"{name}: expected no cycle of imports, got {' → '.join([*self._reading, name])}")
        path = self._folder / name
        if not path.is_file():
            raise ValueError(f"{self._reading[-1]}: expected a file of {self._folder.name}, got {name!r}")
        self._reading.append(name)
        text = path.read_bytes()
        if path.suffix == ".js":
            text = _COMMENT.sub(b"", text)
        body = _REFERENCE.sub(lambda found: b"/static/" + self._read(found[1].decode()).name.encode(), text)
        self._reading.pop()
        hashed = f"{path.stem}.{sha256(body).hexdigest()[:12]}{path.suffix}"
        self._files[name] = File(hashed, _TYPES[path.suffix], body, gzip.compress(body, mtime=0))
        return self._files[name]


def _answer(request: web.Request, file: File, caching: str) -> web.Response:
    etag = f'"{file.name.split(".")[-2]}"'
    headers = {"Cache-Control": caching, "ETag": etag, "Vary": "Accept-Encoding"}
    if etag in request.headers.get("If-None-Match", ""):
        return web.Response(status=HTTPStatus.NOT_MODIFIED, headers=headers)
    headers["Content-Type"] = file.content_type
    if "gzip" in request.headers.get("Accept-Encoding", ""):
        return web.Response(body=file.compressed, headers={**headers, "Content-Encoding": "gzip"})
    return web.Response(body=file.body, headers=headers)
