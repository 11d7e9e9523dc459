"""Routing of LLM requests: state, indicators, rules, detector, mitigation, router. The ground floor of argprod.

Needs numpy, msgspec and xxhash only.

Example:
    >>> import scheduler
    >>> state = scheduler.ClusterState(ids=("A", "B"), running=(0, 3), waiting=(0, 0), queued_prefill_tokens=(0, 0),
    ...                                hit_tokens=(0, 128))
    >>> request = scheduler.Request(id=0, arrival_s=0.0, prompt_tokens=160)
    >>> decision, _ = scheduler.decide(scheduler.policy("lmetric"), state, request)
    >>> decision.id
    'B'
    >>> scheduler.detect(state, request).safe
    True
"""

from scheduler.accounting import Accounting, Level
from scheduler.block_keys import token_keys
from scheduler.cost import StepTime
from scheduler.detect_config import DetectConfig
from scheduler.detection import Detector, detect
from scheduler.domains import Domain
from scheduler.errors import ArgprodError, BadInput, BadTrace, EngineFailure
from scheduler.finding import Choice, Detection, Finding, Kind, Severity
from scheduler.history_index import HistoryIndex
from scheduler.indicators import Indicators
from scheduler.mitigation import Mode, mitigate
from scheduler.monitor import Monitor, MonitorConfig
from scheduler.ops import ARRAY, SCALAR, Ops
from scheduler.policies.catalogue import CATALOGUE, policy
from scheduler.policies.choosing import Chooser, decide
from scheduler.policies.rule import Knob, Memory, Pick, Policy, Rule
from scheduler.prefix_index import PrefixIndex
from scheduler.remedies import Mitigation
from scheduler.routed import Routed
from scheduler.router import Router
from scheduler.router_config import RouterConfig
from scheduler.state import ClusterState, Decision, End, Outcome, Request, checked_request
from scheduler.state_json import StateFile, read_state, read_states, write_state
from scheduler.traffic import ClassTraffic

__all__ = [
    "ARRAY",
    "CATALOGUE",
    "SCALAR",
    "Accounting",
    "ArgprodError",
    "BadInput",
    "BadTrace",
    "Choice",
    "Chooser",
    "ClassTraffic",
    "ClusterState",
    "Decision",
    "DetectConfig",
    "Detection",
    "Detector",
    "Domain",
    "End",
    "EngineFailure",
    "Finding",
    "HistoryIndex",
    "Indicators",
    "Kind",
    "Knob",
    "Level",
    "Memory",
    "Mitigation",
    "Mode",
    "Monitor",
    "MonitorConfig",
    "Ops",
    "Outcome",
    "Pick",
    "Policy",
    "PrefixIndex",
    "Request",
    "Routed",
    "Router",
    "RouterConfig",
    "Rule",
    "Severity",
    "StateFile",
    "StepTime",
    "checked_request",
    "decide",
    "detect",
    "mitigate",
    "policy",
    "read_state",
    "read_states",
    "token_keys",
    "write_state",
]
