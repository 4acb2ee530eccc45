"""Found by a replica that is started with this folder on PYTHONPATH: it takes the process id of a container's first."""

import os

if "DISGUISE_PID" in os.environ:
    _pid = int(os.environ["DISGUISE_PID"])
    os.getpid = lambda: _pid
