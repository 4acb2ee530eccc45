"""`peekaping-producer demo`: the real producer on embedded servers, for a newcomer's terminal.

scene (what has to run) · target (what is checked) · consumer (who checks) · ledger (what was seen) · table (what is
shown) · show (the plot: start, kill the leader, stop).
"""

from peekaping_producer.demo.show import run_demo

__all__ = ["run_demo"]
