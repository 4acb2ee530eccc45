"""The files of the page, from the package: names that contain a hash of the content, so that browsers keep them."""

import gzip
import re
from hashlib import sha256
from http import HTTPStatus
from pathlib import Path

import msgspec
from aiohttp import web

from peekaping_producer.ui.script import one_script
from peekaping_producer.web.refusals import RequestError

FOLDER = Path(__file__).parent / "static"
SHELL = "index.html"
SCRIPT = "app.js"
"""It is sent with all modules that it imports."""
_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
"""By suffix."""
_REFERENCE = re.compile(r"/static/([a-z0-9_-]+\.[a-z]+)\b")
"""How the page refers to files: `/static/app.css`."""
_INDENT = re.compile(r"^ +", re.MULTILINE)
_IMMUTABLE = "public, max-age=31536000, immutable"


class File(msgspec.Struct, frozen=True):
    """A file as it is sent."""

    name: str
    """With the hash: `app.0123456789ab.js`."""
    content_type: str
    body: bytes
    compressed: bytes
    """By gzip."""


class StaticFiles:
    """All files, read once."""

    def __init__(self, folder: Path = FOLDER) -> None:
        """Raise ValueError if a file refers to one that does not exist, or modules import each other."""
        self._files: dict[str, File] = {}
        if (folder / SCRIPT).exists():
            self._add(folder / SCRIPT, one_script(folder / SCRIPT))
        for suffix in (".svg", ".css", ".html"):  # each may refer to files of the kinds before it
            for path in sorted(folder.glob(f"*{suffix}")):
                self._add(path, _INDENT.sub("", path.read_text(encoding="utf-8")))
        self._shell = self._files.get(SHELL)
        self._by_name = {file.name: file for file in self._files.values()}

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

    def _add(self, path: Path, text: str) -> None:
        body = _REFERENCE.sub(lambda found: f"/static/{self._hashed(found[1], path)}", text).encode()
        hashed = f"{path.stem}.{sha256(body).hexdigest()[:12]}{path.suffix}"
        self._files[path.name] = File(hashed, _TYPES[path.suffix], body, gzip.compress(body, mtime=0))

    def _hashed(self, name: str, path: Path) -> str:
        if name not in self._files:
            raise ValueError(f"{path.name}: expected a file of {path.parent.name}, got {name!r}")
        return self._files[name].name


def _answer(request: web.Request, file: File, caching: str) -> web.Response:
    etag = f'"{file.name.split(".")[-2]}"'
    headers = {"Cache-Control": caching, "ETag": etag, "Vary": "Accept-Encoding"}
    if etag in request.headers.get("If-None-Match", ""):
        return web.Response(status=HTTPStatus.NOT_MODIFIED, headers=headers)
    headers["Content-Type"] = file.content_type
    if "gzip" in request.headers.get("Accept-Encoding", ""):
        return web.Response(body=file.compressed, headers={**headers, "Content-Encoding": "gzip"})
    return web.Response(body=file.body, headers=headers)
