"""Found by a replica that is started with this folder on PYTHONPATH: it takes the process id of a container's first."""

import os

if "FAKE_PID" in os.environ:
    _pid = int(os.environ["FAKE_PID"])
    os.getpid = lambda: _pid
