"""`peekaping-producer demo`: the real producer on embedded servers, shown in a terminal.

environment (servers, monitors, replicas) · target (what is checked) · consumer (runs the checks) · ledger (counts) ·
failover (kills the leader) · view and table (output) · runner (start, watch, stop, summarize).
"""

from peekaping_producer.demo.runner import run_demo

__all__ = ["run_demo"]
