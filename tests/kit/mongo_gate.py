"""A gate before a MongoDB server without users and TLS: SCRAM as mongod speaks it, and encryption."""

import asyncio
import base64
import hashlib
import hmac
import os
import ssl
import struct
from collections.abc import Collection, Mapping
from contextlib import AbstractAsyncContextManager, suppress
from pathlib import Path
from typing import Any

import bson

from tests.kit.certificates import server_context
from tests.kit.fault_proxy import Ends, FaultProxy, running

_OP_MSG = 2013
_OPEN_TO_ALL = {"hello", "ismaster", "isMaster", "ping", "buildInfo", "buildinfo", "endSessions"}
_MECHANISMS = ["SCRAM-SHA-1", "SCRAM-SHA-256"]
_ITERATIONS = 4096
_FAILED = {"ok": 0.0, "errmsg": "Authentication failed.", "code": 18, "codeName": "AuthenticationFailed"}


class Gate(FaultProxy):
    """A proxy that authenticates the clients; without users, every client may enter."""

    def __init__(
        self,
        upstream_port: int,
        users: Mapping[tuple[str, str], str],
        forbidden: Collection[str],
        tls: ssl.SSLContext | None,
    ) -> None:
        super().__init__(upstream_port, tls)
        self.mechanisms: list[str] = []
        """Of each attempt to authenticate, also of those within a hello."""
        self._users = users
        self._forbidden = forbidden

    async def _carry(self, ends: Ends) -> None:
        """One connection: each request has one reply before the next comes."""
        scram = Scram(self._users)
        with suppress(asyncio.IncompleteReadError):  # one of the two has left
            while True:
                message = await _message(ends.client)
                command = _document(message) if self._users or self._forbidden else {}
                answer = self._answer(scram, command)
                if answer is not None:
                    reply = _reply(message, answer)
                else:
                    ends.to_server.write(message)
                    reply = self._greeting(scram, command, await _message(ends.server))
                ends.to_client.write(reply)
                await ends.to_client.drain()

    def _answer(self, scram: "Scram", command: dict[str, Any]) -> dict[str, Any] | None:
        """The reply of the gate itself; None where the server answers."""
        name = next(iter(command), "")
        if name == "saslStart":
            return self._start(scram, command)
        if name == "saslContinue":
            return scram.finish(command)
        if name in self._forbidden or (self._users and not scram.done and name not in _OPEN_TO_ALL):
            return {"ok": 0.0, "errmsg": f"not authorized to execute command {command}", "code": 13}
        return None

    def _start(self, scram: "Scram", command: dict[str, Any]) -> dict[str, Any]:
        self.mechanisms.append(command["mechanism"])
        return scram.start(command)

    def _greeting(self, scram: "Scram", command: dict[str, Any], reply: bytes) -> bytes:
        """The server's reply, in which a hello's two questions about its user are answered as mongod answers them."""
        added: dict[str, Any] = {}
        source, _, user = command.get("saslSupportedMechs", "").partition(".")
        if (source, user) in self._users:
            added["saslSupportedMechs"] = _MECHANISMS
        if speculative := command.get("speculativeAuthenticate"):
            answer = self._start(scram, {**speculative, "$db": speculative["db"]})
            added |= {"speculativeAuthenticate": answer} if answer["ok"] else {}
        if not added:
            return reply
        place = _place(reply)
        body = reply[4:place] + bson.encode(bson.decode(reply[place:]) | added)
        return struct.pack("<i", 4 + len(body)) + body


class Scram:
    """The server's side of SCRAM-SHA-1 and SCRAM-SHA-256 (RFC 5802, and MongoDB's rule for the former's password)."""

    def __init__(self, users: Mapping[tuple[str, str], str]) -> None:
        self.done = False
        self._users = users
        self._hash = "sha256"
        self._salted = b""
        self._nonce = ""
        self._exchanged = ""

    def start(self, command: dict[str, Any]) -> dict[str, Any]:
        """The client names itself; it is answered with a salt whether it is known or not."""
        bare = bytes(command["payload"]).decode().removeprefix("n,,")
        fields = _fields(bare)
        user = fields["n"].replace("=2C", ",").replace("=3D", "=")
        password = self._users.get((command["$db"], user))
        if password is None:
            return _FAILED
        self._hash = command["mechanism"].removeprefix("SCRAM-").replace("-", "").lower()
        if self._hash == "sha1":
            password = hashlib.md5(f"{user}:mongo:{password}".encode(), usedforsecurity=False).hexdigest()
        salt = os.urandom(16)
        self._salted = hashlib.pbkdf2_hmac(self._hash, password.encode(), salt, _ITERATIONS)
        self._nonce = fields["r"] + os.urandom(6).hex()
        first = f"r={self._nonce},s={base64.b64encode(salt).decode()},i={_ITERATIONS}"
        self._exchanged = f"{bare},{first}"
        return {"ok": 1.0, "conversationId": 1, "done": False, "payload": first.encode()}

    def finish(self, command: dict[str, Any]) -> dict[str, Any]:
        """The client proves that it knows the password, and receives the proof of the server."""
        final = bytes(command["payload"]).decode()
        exchanged = f"{self._exchanged},{final.rpartition(',p=')[0]}"
        client_key = self._hmac(self._salted, "Client Key")
        signature = self._hmac(hashlib.new(self._hash, client_key).digest(), exchanged)
        proof = bytes(a ^ b for a, b in zip(client_key, signature, strict=True))
        fields = _fields(final)
        proven = hmac.compare_digest(proof, base64.b64decode(fields["p"]))
        self.done = proven and fields["r"] == self._nonce != ""
        if not self.done:
            return _FAILED
        verifier = base64.b64encode(self._hmac(self._hmac(self._salted, "Server Key"), exchanged))
        return {"ok": 1.0, "conversationId": 1, "done": True, "payload": b"v=" + verifier}

    def _hmac(self, key: bytes, text: str) -> bytes:
        return hmac.new(key, text.encode(), self._hash).digest()


def gate(
    upstream_port: int,
    users: Mapping[tuple[str, str], str] | None = None,
    *,
    forbidden: Collection[str] = (),
    certificate: Path | None = None,
    asks_for_certificates: bool = False,
) -> AbstractAsyncContextManager[Gate]:
    """A gate for `users` ((auth source, name) to password), which refuses the commands `forbidden`.

    With `certificate`, made by self_signed(), it accepts clients by TLS only; if it asks for certificates, only clients
    with that same one.
    """
    context = None
    if certificate is not None:
        context = server_context(certificate)
        if asks_for_certificates:
            context.load_verify_locations(certificate)
            context.verify_mode = ssl.CERT_REQUIRED
    return running(Gate(upstream_port, users or {}, forbidden, context))


async def _message(reader: asyncio.StreamReader) -> bytes:
    size = await reader.readexactly(4)
    return size + await reader.readexactly(int.from_bytes(size, "little") - 4)


def _document(message: bytes) -> dict[str, Any]:
    """A request's command."""
    place = _place(message)
    size = int.from_bytes(message[place : place + 4], "little")
    return bson.decode(message[place : place + size])


def _place(message: bytes) -> int:
    """Where the document starts: of an OP_MSG the body section, which drivers put first; a hello may be older."""
    match struct.unpack_from("<i", message, 12)[0]:
        case 2004:  # OP_QUERY
            return message.index(b"\0", 20) + 9  # after a collection's name and two numbers
        case 1:  # OP_REPLY
            return 36
        case _:
            return 21


def _reply(request: bytes, document: dict[str, Any]) -> bytes:
    (number,) = struct.unpack_from("<i", request, 4)
    body = struct.pack("<Ib", 0, 0) + bson.encode(document)
    return struct.pack("<iiii", 16 + len(body), 0, number, _OP_MSG) + body


def _fields(text: str) -> dict[str, str]:
    return dict(part.split("=", 1) for part in text.split(",") if "=" in part)
