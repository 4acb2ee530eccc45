"""`top`: the fleet in a terminal, redrawn every 2 s.

reading (I/O) -> view (values) -> screen (lines of styled text, without a terminal); keys (what a key changes).
"""
