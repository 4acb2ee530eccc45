"""Redis users with the permissions that docs/operations.md lists, and what the server refused to them."""

import re
from pathlib import Path
from typing import Any

import msgspec
from redis.asyncio import Redis

from peekaping_producer.targets import RedisTarget

_ROOT = Path(__file__).parents[2]
OPTIONAL = {"+info", "+client|setname"}
"""Documented rights that are not required."""
OPTIONAL_OF_REPLICAS = {*OPTIONAL, "+xadd", "+xrange", "+xrevrange"}
"""As above, for replicas: also events."""


def documented(user: str) -> list[str]:
    """Return the rules of its ACL SETUSER in the docs, without name and password."""
    text = (_ROOT / "docs" / "operations.md").read_text().split(f"ACL SETUSER {user} on >secret")[1]
    return text.split("\n\n")[0].split()


def commands_of(*scripts: Path) -> set[str]:
    """The rights to all commands that these scripts call."""
    texts = "".join(script.read_text() for script in scripts)
    return {f"+{name.lower()}" for name in re.findall(r"\b(?:redis\.p?call|read)\(\s*'(\w+)'", texts)}


async def user_with(admin: Redis, target: RedisTarget, *rules: str, name: str = "few") -> RedisTarget:
    """Make a user with these rules only; return the target for it."""
    await admin.execute_command("ACL", "SETUSER", name, "reset", "on", ">pw", *rules)  # type: ignore[no-untyped-call]
    return msgspec.structs.replace(target, username=name, password="pw")


async def refused(admin: Redis) -> set[str]:
    """What the server has refused since the last call: commands, keys and channels."""
    entries: Any = await admin.execute_command("ACL", "LOG")  # type: ignore[no-untyped-call]
    await admin.execute_command("ACL", "LOG", "RESET")  # type: ignore[no-untyped-call]
    return {(entry[b"object"] if isinstance(entry, dict) else entry[7]).decode() for entry in entries}
