"""Naming a rule: one of the catalogue, or your own as ``module:function``; and refusing what no solver can read.

Your own may be a :class:`scheduler.Rule`, or a key function ``f(ops, x, aggregates, knobs)`` or ``f(ops, x)``; what it
reads is found out by reading it once. It is called ``module:function``, so that its label reads back. Modules are
looked for in the current folder too.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import importlib
import inspect
import os
import random
import sys
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

import z3

from proofs.ops import Z3
from proofs.search.guarding import EXPECTED, readable, told
from proofs.search.situation import NotFixed, recalled_at_start
from scheduler.errors import BadInput
from scheduler.indicators import indicators_of
from scheduler.policies.catalogue import CATALOGUE
from scheduler.policies.catalogue import policy as read_policy
from scheduler.policies.compiled import source_of
from scheduler.policies.reading import read
from scheduler.policies.rule import Pick, Policy, Rule
from scheduler.state import OPTIONAL_COLUMNS, REQUIRED_COLUMNS, ClusterState, Request

#: Short names for costs.
ALIASES = {"product": "lmetric", "line": "linear:form=p_token"}
_OPTIONAL = (*(name for name in OPTIONAL_COLUMNS if name != "updated_s"), "expected_output_tokens")
_OF_THE_REQUEST = ("prompt_tokens", "block_tokens", "expected_output_tokens")
_KEY_FORM = "a key function f(ops, x, aggregates, knobs) or f(ops, x), whose least value wins"
#: Time for asking whether a key tells instances apart [ms].
_APART_MS = 1000


def rule_named(text: str) -> Policy:
    """Read ``NAME[:knob=value,...]`` or ``module:function``.

    Raises:
        BadInput: unknown rule or module, or a rule that cannot be searched; its message names the operation.

    Example:
        >>> rule_named("line").label
        'linear:form=p_token'
    """
    text = ALIASES.get(text, text)
    name, _, tail = text.partition(":")
    if name in CATALOGUE or not tail or "=" in tail.partition(":")[0]:
        found = read_policy(text)
    else:
        found = _own(name, tail)
    return checked(found)


def _own(module: str, tail: str) -> Policy:
    function, _, knobs = tail.partition(":")
    name, value = f"{module}:{function}", _loaded(module, function)
    given: dict[str, Any] = dict(part.partition("=")[::2] for part in knobs.split(",")) if knobs else {}
    if isinstance(value, Policy):
        given = {**value.values, **given}
        value = value.rule
    if not isinstance(value, Rule):
        value = Rule(name, "a rule of your own", "its module", _key_function(name, value))
        value = dataclasses.replace(value, needs=_reads(value))
    elif CATALOGUE.get(value.name) is not value:
        value = dataclasses.replace(value, name=name)
    return value.with_knobs(given)


def _key_function(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """The function as a rule's key; two arguments will do, where the first is called ``ops``.

    Raises:
        BadInput: for any other signature, one of a state and a request among them.
    """
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        raise BadInput("rule", name, _KEY_FORM, "its parameters cannot be read") from None
    names = list(signature.parameters)
    if _takes(signature, 4):
        return function
    if _takes(signature, 2) and names[0].strip("_") in ("ops", ""):

        @functools.wraps(function)
        def key(ops: Any, x: Any, _aggregates: Any, _knobs: Any) -> Any:
            return function(ops, x)

        return key
    hint = f"{name.partition(':')[2]}{signature} is given"
    if len(names) == 2:
        hint += "; a choice from a state and a request is for scheduler.testing.laws"
    raise BadInput("rule", name, _KEY_FORM, hint)


def _takes(signature: inspect.Signature, count: int) -> bool:
    try:
        signature.bind(*range(count))
    except TypeError:
        return False
    return True


def _loaded(module: str, function: str) -> Any:
    here = os.getcwd()  # noqa: PTH109 - `sys.path` holds texts
    added = here not in sys.path
    if added:
        sys.path.insert(0, here)
    try:
        loaded = importlib.import_module(module)
    except ImportError as fault:
        raise BadInput(
            "rule", f"{module}:{function}", "a rule of the catalogue or module:function", str(fault)
        ) from None
    except (Exception, SystemExit) as fault:  # noqa: BLE001 - whatever a stranger's module raises when it is run
        raise BadInput("rule", f"{module}:{function}", "a module that can be imported", told(fault)) from None
    finally:
        if added:
            sys.path.remove(here)
    value = getattr(loaded, function, None)
    if not callable(value) and not isinstance(value, Rule | Policy):
        raise BadInput("rule", f"{module}:{function}", "a function or a Rule of that module")
    return value


class _Noting:
    """Indicators that note which of their fields are read."""

    def __init__(self, inner: Any, noted: dict[str, None]) -> None:
        self._inner, self._noted = inner, noted

    def __getattr__(self, name: str) -> Any:
        self._noted[name] = None
        return getattr(self._inner, name)


def _terms(policy: Policy) -> list[Any]:
    """Two instances as solver terms, every field free and the request's the same."""
    memory = policy.rule.memory
    recalled = memory.columns if memory is not None else ()
    columns = [name for name in (*REQUIRED_COLUMNS, *_OPTIONAL) if name not in _OF_THE_REQUEST]
    request = {name: z3.Real(name) for name in _OF_THE_REQUEST}
    return [
        indicators_of(
            Z3,
            recalled={name: z3.Real(f"recalled_{name}_{i}") for name in recalled},
            **{name: z3.Real(f"{name}_{i}") for name in columns},
            **request,
        )
        for i in range(2)
    ]


def _reads(rule: Rule) -> tuple[str, ...]:
    greedy = Policy(Rule(rule.name, rule.summary, rule.source, rule.key, needs=_OPTIONAL))
    with readable(greedy):
        source_of(greedy)  # first, because its messages name the mistake
    noted: dict[str, None] = {}
    instances = [_Noting(x, noted) for x in _terms(greedy)]
    with readable(greedy):
        read(greedy, Z3, instances)
    return tuple(name for name in noted if name in _OPTIONAL)


def checked(policy: Policy) -> Policy:
    """Return the policy if a search can read it.

    Raises:
        BadInput: if it draws its choice, if its key never tells two instances apart, or if it is no plain arithmetic:
            with the operation and the line.
    """
    rule = policy.rule
    if policy.samples:
        raise BadInput("rule", policy.label, "a rule that takes the least key", f"{rule.name} draws by weight")
    if not rule.readable:
        raise BadInput("rule", policy.label, EXPECTED, "it says of itself that it is not")
    if rule.memory is not None:
        with readable(policy, expected="a memory that can be asked"):
            start = rule.memory.start(2, policy.knobs)
            request = Request(id=0, arrival_s=0.0, prompt_tokens=1)
            rule.memory.recall(start, request, _NOBODY, policy.knobs, _NoDraw(rule.name))
    with readable(policy):
        source_of(policy)
    with readable(policy):
        _check_keys(policy, _terms(policy))
    return policy


def check_free(policy: Policy, name: str) -> None:
    """Refuse a knob that may not vary: one that the rule, or its memory, treats as a plain number.

    Args:
        policy: the rule.
        name: of its knob.

    Raises:
        BadInput: naming the knob and the line.
    """
    varied = Policy(policy.rule, {**policy.values, name: z3.Real(f"knob_{name}")})
    with readable(policy, f"{policy.rule.name}:{name}", "a knob that is used in plain arithmetic only"):
        read(varied, Z3, _terms(varied))
        with contextlib.suppress(NotFixed):
            recalled_at_start(varied, 2, 1)


def _check_keys(policy: Policy, instances: Sequence[Any]) -> None:
    """Refuse keys that are no numbers, and rules to which all instances are equal: no choice of theirs is strict."""
    keys, eligible = read(policy, Z3, instances)
    for part in keys[0]:
        if isinstance(part, bool) or not isinstance(part, int | float | Fraction | z3.ArithRef):
            hint = "ops.where(condition, 0, 1) makes a condition a number" if z3.is_bool(part) else ""
            shown = part if isinstance(part, z3.ExprRef | str | int | float | None) else type(part).__name__
            raise BadInput(f"key of {policy.rule.name}", shown, "a number or a tuple of numbers", hint)
    pairs = [*zip(*keys, strict=True), tuple(eligible)]
    differ = [one != other for one, other in pairs]
    if any(value is True for value in differ):
        return
    solver = z3.Solver()
    solver.set("timeout", _APART_MS)
    for x in instances:
        columns = [getattr(x, name) for name in (*REQUIRED_COLUMNS, *_OPTIONAL)]
        solver.add(*(column >= 0 for column in columns), x.prompt_tokens >= 1, x.block_tokens >= 1)
    solver.add(z3.Or([term for term in differ if not isinstance(term, bool)]))
    if solver.check() == z3.unsat:
        drawn = policy.pick is not Pick.FIRST
        told = "every choice is drawn from all of them" if drawn else "the first is always taken"
        hint = f"its key is the same for every instance: {told}"
        raise BadInput("rule", policy.label, "a rule whose choice follows from the state", hint)


_NOBODY = ClusterState(ids=("a", "b"), running=(0, 0), waiting=(0, 0), queued_prefill_tokens=(0, 0), hit_tokens=(0, 0))


class _NoDraw(random.Random):
    """A source of randomness that refuses: a choice that is drawn does not follow from the state."""

    def __init__(self, rule: str) -> None:
        super().__init__(0)
        self._rule = rule

    def random(self) -> float:
        raise BadInput("rule", self._rule, "a rule whose choice follows from the state", "this one draws")
