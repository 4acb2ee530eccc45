"""What servers and workers are made of. `meta` and `src.meta` are two names of this package."""

import sys

from .logger_setup import logger_setup
from .message_command import MessageCommand
from .message_worker import MessageWorker
from .multi_process_worker import MultiProcessWorker

__all__ = ["MessageCommand", "MessageWorker", "MultiProcessWorker", "logger_setup"]

# Whichever name is imported first, the other one leads to the same classes.
_OTHER = {"meta": "src.meta", "src.meta": "meta"}[__name__]
for _name, _module in list(sys.modules.items()):
    if _name == __name__ or _name.startswith(f"{__name__}."):
        sys.modules[_OTHER + _name.removeprefix(__name__)] = _module
