"""Routing of LLM requests: state, indicators, rules. The ground floor of argprod.

Needs numpy, msgspec and xxhash only.

Example:
    >>> import scheduler
    >>> state = scheduler.ClusterState(ids=("A", "B"), running=(0, 3), waiting=(0, 0), queued_prefill_tokens=(0, 0),
    ...                                hit_tokens=(0, 128))
    >>> request = scheduler.Request(id=0, arrival_s=0.0, prompt_tokens=160)
    >>> decision, _ = scheduler.decide(scheduler.policy("lmetric"), state, request)
    >>> decision.id
    'B'
"""

from scheduler.accounting import Accounting, Level
from scheduler.cost import StepTime
from scheduler.domains import Domain
from scheduler.errors import ArgprodError, BadInput, BadTrace, EngineFailure
from scheduler.indicators import Indicators
from scheduler.ops import ARRAY, SCALAR, Ops
from scheduler.policies.catalogue import CATALOGUE, policy
from scheduler.policies.choosing import Chooser, decide
from scheduler.policies.rule import Knob, Memory, Pick, Policy, Rule
from scheduler.prefix_index import HistoryIndex, PrefixIndex
from scheduler.state import ClusterState, Decision, End, Outcome, Request, checked_request
from scheduler.state_json import ClassTraffic, StateFile, read_state, read_states, write_state

__all__ = [
    "ARRAY",
    "CATALOGUE",
    "SCALAR",
    "Accounting",
    "ArgprodError",
    "BadInput",
    "BadTrace",
    "Chooser",
    "ClassTraffic",
    "ClusterState",
    "Decision",
    "Domain",
    "End",
    "EngineFailure",
    "HistoryIndex",
    "Indicators",
    "Knob",
    "Level",
    "Memory",
    "Ops",
    "Outcome",
    "Pick",
    "Policy",
    "PrefixIndex",
    "Request",
    "Rule",
    "StateFile",
    "StepTime",
    "checked_request",
    "decide",
    "policy",
    "read_state",
    "read_states",
    "write_state",
]
