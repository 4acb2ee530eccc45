"""For a replica with this directory on PYTHONPATH: its process id looks like that of the first in a container."""

import os

if "FAKE_PID" in os.environ:
    _pid = int(os.environ["FAKE_PID"])
    os.getpid = lambda: _pid
