"""Compile a rule into a fast Python function, from its one definition.

The rule is run once in a tracing world whose "numbers" write down what is done to them. The recorded expression becomes
the source of a Python function that computes the keys of all instances in one loop. No rule is written a second time:
a test shows that compiled keys equal the interpreted ones for every rule of the catalogue.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

from scheduler.errors import BadInput
from scheduler.indicators import indicators_of
from scheduler.ops import Ops, Over
from scheduler.policies.rule import Policy
from scheduler.state import OPTIONAL_COLUMNS, REQUIRED_COLUMNS

#: ``keys(view, prompt_tokens, expected_output_tokens, block_tokens, recalled)``: one key an instance; if the rule has a
#: filter, each key is led by 0 for eligible and 1 for filtered out.
KeyFunction = Callable[[Any, int, Any, int, Any], list[Any]]

_ONE_EACH = "one entry an instance in each"
_REQUEST_FIELDS = ("prompt_tokens", "expected_output_tokens", "block_tokens")


class _Node:
    """One recorded operation; ``per_instance`` tells whether its value differs between instances."""

    __slots__ = ("args", "op", "per_instance")

    per_instance: bool

    def __init__(self, op: str, *args: Any, per_instance: bool | None = None) -> None:
        self.op, self.args = op, args
        if per_instance is None:
            per_instance = any(isinstance(arg, _Node) and arg.per_instance for arg in args)
        self.per_instance = per_instance

    def __bool__(self) -> bool:
        raise TypeError("a rule used `if`, `and` or `or` on an indicator; use ops.where, ops.and_, ops.or_")

    def __eq__(self, other: object) -> Any:
        raise TypeError("a rule compared an indicator by `==`; use ops.eq")

    def __ne__(self, other: object) -> Any:
        raise TypeError("a rule compared an indicator by `!=`; use ops.not_(ops.eq(a, b))")

    # By identity: two live nodes never have one hash, so a dictionary never asks whether they are equal.
    __hash__ = object.__hash__


def _infix(symbol: str, swapped: bool = False) -> Callable[[_Node, Any], _Node]:
    template = f"({{}} {symbol} {{}})"
    if swapped:
        return lambda self, other: _Node(template, other, self)
    return lambda self, other: _Node(template, self, other)


for _name, _symbol in {"add": "+", "sub": "-", "mul": "*", "truediv": "/"}.items():
    setattr(_Node, f"__{_name}__", _infix(_symbol))
    setattr(_Node, f"__r{_name}__", _infix(_symbol, swapped=True))
for _name, _symbol in {"lt": "<", "le": "<=", "gt": ">", "ge": ">="}.items():
    setattr(_Node, f"__{_name}__", _infix(_symbol))
setattr(_Node, "__neg__", lambda self: _Node("(-{})", self))  # noqa: B010


def _record(template: str) -> Callable[..., _Node]:
    return lambda *args: _Node(template, *args)


def _reduce(template: str) -> Callable[[Any], _Node]:
    return lambda column: _Node(template, column, per_instance=False)


def _each(function: Callable[[Any], Any], instances: Any) -> _Node:
    value = function(instances)
    return _Node("column", value, per_instance=True)


_TRACE = Ops(
    name="trace",
    eq=_record("({} == {})"),
    and_=_record("({} and {})"),
    or_=_record("({} or {})"),
    not_=_record("(not {})"),
    where=lambda condition, a, b: _Node("({1} if {0} else {2})", condition, a, b),
    max_=_record("({0} if {0} > {1} else {1})"),
    min_=_record("({0} if {0} < {1} else {1})"),
    floor=_record("math.floor({})"),
    log=_record("math.log({})"),
    each=_each,
    least=_reduce("min({})"),
    most=_reduce("max({})"),
    total=_reduce("sum({})"),
    count=_reduce("sum(map(bool, {}))"),
    size=lambda _instances: _Node("size", per_instance=False),
)


class _Writer:
    """Turns recorded expressions into lines of Python, every shared operation computed once."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.names: dict[_Node, str] = {}
        self.lists: dict[_Node, str] = {}
        self.used_columns: dict[str, None] = {}
        self.used_fields: dict[str, None] = {}

    def _fresh(self, letter: str) -> str:
        return f"{letter}{len(self.names) + len(self.lists)}"

    def scalar(self, node: Any) -> str:
        """Name of a value that is the same for all instances; writes what it needs before it."""
        if not isinstance(node, _Node):
            return repr(node)
        if node in self.names:
            return self.names[node]
        assert not node.per_instance
        if node.args and isinstance(node.args[0], _Node) and node.args[0].op == "column":
            text = node.op.format(self.column(node.args[0].args[0]))
        elif node.op == "size":
            text = "len(view.running)"
        elif node.op == "request":
            self.names[node] = node.args[0]
            self.used_fields[node.args[0]] = None
            return self.names[node]
        else:
            text = node.op.format(*(self.scalar(arg) for arg in node.args))
        name = self._fresh("s")
        self.names[node] = name
        self.lines.append(f"    {name} = {text}")
        return name

    def column(self, value: Any) -> str:
        """Expression for the list of a value over all instances."""
        if not isinstance(value, _Node) or not value.per_instance:
            return f"[{self.scalar(value)}] * len(view.running)"
        if value.op == "input":
            self.used_columns[value.args[0]] = None
            return f"c_{value.args[0]}"
        if value not in self.lists:
            self.lists[value] = self._fresh("l")
            self.loop([value], self.lists[value], "{}")
        return self.lists[value]

    def loop(self, values: Sequence[Any], target: str, template: str) -> None:
        """Write the loop that appends ``template`` of the values of each instance to the list ``target``."""
        body: list[str] = []
        local: dict[_Node, str] = {}
        inputs: dict[str, None] = {}

        def visit(node: Any) -> str:
            if not isinstance(node, _Node) or not node.per_instance:
                return self.scalar(node)
            if node not in local:
                if node.op == "input":
                    inputs[node.args[0]] = None
                    local[node] = f"v_{node.args[0]}"
                else:
                    text = node.op.format(*[visit(arg) for arg in node.args])
                    local[node] = f"t{len(local)}"
                    body.append(f"        {local[node]} = {text}")
            return local[node]

        result = template.format(*[visit(value) for value in values])
        self.used_columns.update(inputs)
        self.lines.append(f"    {target} = []")
        if inputs:
            heads = ", ".join(f"v_{name}" for name in inputs)
            columns = ", ".join(f"c_{name}" for name in inputs)
            over = f"zip({columns})" if len(inputs) > 1 else columns
            self.lines.append(f"    for {heads} in {over}:")
        else:
            self.lines.append("    for _ in view.running:")
        self.lines.extend(body)
        self.lines.append(f"        {target}.append({result})")


def _traced_indicators(policy: Policy) -> Any:
    columns = (*REQUIRED_COLUMNS, *OPTIONAL_COLUMNS)
    traced = {name: _Node("input", name, per_instance=True) for name in columns if name != "updated_s"}
    traced.update({name: _Node("request", name, per_instance=False) for name in _REQUEST_FIELDS})
    memory = policy.rule.memory
    names = memory.columns if memory is not None else ()
    recalled = {name: _Node("input", f"recalled_{name}", per_instance=True) for name in names}
    return indicators_of(_TRACE, recalled=recalled, **traced)


def _declared(policy: Policy, name: str) -> bool:
    """Whether a rule may read an input without more ado, or says that it needs it."""
    given = (*REQUIRED_COLUMNS, "prompt_tokens", "block_tokens")
    return name in given or name.startswith("recalled_") or name in policy.needs


def source_of(policy: Policy) -> str:
    """Python source of the key function of a policy; readable, for curiosity and for profiling."""
    rule, knobs = policy.rule, policy.knobs
    x = _traced_indicators(policy)
    aggregates = rule.aggregates(_TRACE, Over(_TRACE, x), knobs)
    key = rule.key(_TRACE, x, aggregates, knobs)
    parts = list(key) if isinstance(key, tuple) else [key]
    if rule.eligible is not None:
        eligible = rule.eligible(_TRACE, x, aggregates, knobs)
        parts.insert(0, _TRACE.where(eligible, 0, 1))
    writer = _Writer()
    template = "{}" if len(parts) == 1 else "(" + ", ".join(["{}"] * len(parts)) + ")"
    writer.loop(parts, "keys", template)
    undeclared = [name for name in (*writer.used_columns, *writer.used_fields) if not _declared(policy, name)]
    if undeclared:
        raise BadInput(
            f"needs of the rule {rule.name}", list(policy.needs), f"also {', '.join(undeclared)}, which it reads"
        )
    head = ["def keys_of(view, prompt_tokens, expected_output_tokens, block_tokens, recalled):"]
    for name in writer.used_columns:
        origin = f"recalled[{name.removeprefix('recalled_')!r}]" if name.startswith("recalled_") else f"view.{name}"
        head.append(f"    c_{name} = {origin}")
    if len(writer.used_columns) > 1:  # once a decision: `zip(strict=True)` in the loops costs four times as much
        head.append(f"    if not ({' == '.join(f'len(c_{name})' for name in writer.used_columns)}):")
        head.append(f"        raise BadInput('columns of the view', 'unequal lengths', {_ONE_EACH!r})")
    return "\n".join([*head, *writer.lines, "    return keys", ""])


def compile_keys(policy: Policy) -> KeyFunction:
    """The key function of a policy.

    Example:
        >>> from scheduler.policies.catalogue import policy
        >>> from scheduler.state import ClusterState
        >>> state = ClusterState(ids=("a", "b"), running=(0, 3), waiting=(0, 0), queued_prefill_tokens=(0, 0),
        ...                      hit_tokens=(0, 128))
        >>> compile_keys(policy("lmetric"))(state, 160, None, 16, {})
        [160, 128]
    """
    scope: dict[str, Any] = {"BadInput": BadInput, "Fraction": Fraction, "inf": math.inf, "math": math}
    exec(compile(source_of(policy), f"<rule {policy.label}>", "exec"), scope)
    function: KeyFunction = scope["keys_of"]
    return function
