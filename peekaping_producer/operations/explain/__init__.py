"""`explain`: why a monitor is checked or not.

reading (I/O) -> facts (values) -> verdict (pure rules, first match wins) -> text · document (what is printed).
"""
