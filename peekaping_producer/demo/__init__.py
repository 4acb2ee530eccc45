"""`peekaping-producer demo` and `demo-queue`: the real program on an embedded server, shown in a terminal.

monitors (two replicas, of which the leader is killed) · messages (file and HTTP through a queue, while relay and API
are killed) · session (one run: length, signals, view) · view and table (output) · command (a process) ·
redis (the embedded server, or an existing one) · embedded (starts the server; the tests use it too).
"""
