"""What a request may do, and who sends it."""

from enum import IntEnum
from typing import Literal

import msgspec


class Role(IntEnum):
    """What a request may do; a higher role includes the lower ones."""

    NONE = 0
    SEE = 1
    ACT = 2


Credential = Literal["none", "bearer", "basic", "cookie", "proxy"]
"""What gave a request its role. A browser sends all but `bearer` by itself, also if another web site asks it to."""


class Visitor(msgspec.Struct, frozen=True, kw_only=True):
    """Who sends a request."""

    role: Role
    credential: Credential
    address: str
    """Of the client; behind proxies, as they forwarded it."""
    user: str | None
    """As the proxy has authenticated it."""
    has_session: bool = False
    session_ends_s: float | None = None
    """Unix time in s at which the session ends that gave the role; None if something else gave it."""
    has_bad_cookie: bool = False
    """Whether its cookie has expired or is not ours."""

    @property
    def who(self) -> str:
        """The user, for events and the log; `page` if no proxy sends one."""
        return self.user or "page"
