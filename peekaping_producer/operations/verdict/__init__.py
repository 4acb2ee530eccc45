"""The verdict: in one sentence, whether checks run on time, and if not, since when and why.

model (codes and values) · rules (their order) · schedule, lateness, queue (one function per rule).
"""

from peekaping_producer.operations.verdict.model import Verdict, VerdictCode, VerdictLevel
from peekaping_producer.operations.verdict.rules import verdict

__all__ = ["Verdict", "VerdictCode", "VerdictLevel", "verdict"]
