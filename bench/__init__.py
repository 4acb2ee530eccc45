"""Benchmarks: programs that measure, and check the result before a figure counts."""
