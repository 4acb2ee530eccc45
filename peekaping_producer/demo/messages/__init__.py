"""Two systems on one queue server: file -> queue -> file, and HTTP API -> queue -> handler.

environment (server, four commands) · lines (writes the input) · clients (call the API) · handler (of the messages) ·
tally (compares what was sent with what arrived) · kills (SIGKILL, and the next start) · snapshot (what is shown) ·
runner (start, watch, stop, summarize).
"""

from peekaping_producer.demo.messages.runner import run_demo

__all__ = ["run_demo"]
