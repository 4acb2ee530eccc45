"""The verdict: in one sentence, whether checks run on time, and if not, since when and why.

model (codes and values) · rules (their order) · schedule, lateness, queue (one function per rule).
"""

from peekaping_producer.operations.verdict.model import LATENESS, Verdict, VerdictCode, VerdictLevel
from peekaping_producer.operations.verdict.rules import verdict

__all__ = ["LATENESS", "Verdict", "VerdictCode", "VerdictLevel", "verdict"]
