"""Two replicas of the producer, of which the leader is killed.

environment (servers, monitors, replicas) · target (what is checked) · consumer (runs the checks) · ledger (counts) ·
failover (kills the leader) · snapshot (what is shown) · runner (start, watch, stop, summarize).
"""

from peekaping_producer.demo.monitors.runner import run_demo

__all__ = ["run_demo"]
