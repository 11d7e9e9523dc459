"""Search for states in which a rule goes wrong; the shipped rules confirm each one before it is told."""

from proofs.search.answering import TIME_LIMIT_S, search
from proofs.search.arrivals import SequenceQuestion
from proofs.search.question import Answer, Found, FreeKnob, Question, Ranges, Verdict
from proofs.search.rules import rule_named
from proofs.search.saving import Counterexample, counterexample_json, counterexamples, read_counterexample
from proofs.search.sequences import sequence_twin
from proofs.search.twins import safe_twin

__all__ = [
    "TIME_LIMIT_S",
    "Answer",
    "Counterexample",
    "Found",
    "FreeKnob",
    "Question",
    "Ranges",
    "SequenceQuestion",
    "Verdict",
    "counterexample_json",
    "counterexamples",
    "read_counterexample",
    "rule_named",
    "safe_twin",
    "search",
    "sequence_twin",
]
