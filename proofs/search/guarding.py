"""What goes wrong in a stranger's rule ends in one message that names the rule, its line and the fault."""

from __future__ import annotations

import inspect
import os
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from scheduler.errors import BadInput
from scheduler.policies.catalogue import CATALOGUE
from scheduler.policies.rule import Policy, Rule

EXPECTED = "plain arithmetic over the operations that it is handed"
_RUNS = "a rule that can be run on every state of the ranges"


def is_shipped(policy: Policy) -> bool:
    """True for a rule of the catalogue, False for one of your own."""
    return CATALOGUE.get(policy.rule.name) is policy.rule


def told(fault: BaseException) -> str:
    """The fault in words, with its kind."""
    return f"{type(fault).__name__}: {fault}"


@contextmanager
def readable(policy: Policy, field: str = "", expected: str = EXPECTED) -> Iterator[None]:
    """Whatever a rule's code raises inside, an exit of the process too, becomes a message.

    Args:
        policy: whose code is run.
        field: what the message is about; the rule if empty.
        expected: what it should have been.

    Raises:
        BadInput: naming the line.
    """
    try:
        yield
    except BadInput:
        raise
    except (Exception, SystemExit) as fault:  # noqa: BLE001 - a stranger's code may raise anything
        raise _message([policy], fault, field or f"rule {policy.rule.name}", expected) from None


@contextmanager
def running(policies: Sequence[Policy], passing: tuple[type[BaseException], ...] = ()) -> Iterator[None]:
    """The same for a whole search; if all rules are of the catalogue, a fault is ours and stays one.

    Args:
        policies: whose code is run.
        passing: exceptions that are none of the rules'.

    Raises:
        BadInput: naming the rule and the line.
    """
    try:
        yield
    except BadInput:
        raise
    except (Exception, SystemExit) as fault:
        if isinstance(fault, passing):
            raise
        own = [policy for policy in policies if not is_shipped(policy)]
        if not own:
            raise
        raise _message(own, fault, "", _RUNS) from fault


def _message(policies: Sequence[Policy], fault: BaseException, field: str, expected: str) -> BadInput:
    frames = traceback.extract_tb(fault.__traceback__)
    ours = [f for f in frames if "/scheduler/ops" not in f.filename and "/z3/" not in f.filename]
    place, policy = (ours or frames)[-1], policies[0]
    for candidate in policies:  # the rule's own line, not that of a library it called
        for frame in ours:
            if frame.filename == _file_of(candidate.rule):
                place, policy = frame, candidate
    where = f"{os.path.basename(place.filename)}:{place.lineno}: {place.line}"  # noqa: PTH119
    return BadInput(field or f"rule {policy.rule.name}", place.line or where, expected, f"{where}; {told(fault)}")


def _file_of(rule: Rule) -> str:
    code: Any = getattr(inspect.unwrap(rule.key), "__code__", None)
    return code.co_filename if code is not None else ""
