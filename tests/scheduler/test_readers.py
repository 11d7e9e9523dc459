"""Every readable rule chooses alike as Fraction, float, NumPy array, SymPy symbol and Z3 term.

The exact worlds agree exactly. Floats and arrays may differ by rounding: every key lies within CLOSE times the
greatest key of the decision from its exact value (a key sums a handful of terms of the keys' own size, each rounded to
2^-53), and so the choice may differ only where the exact keys of the two choices lie that near to each other.

Symbolic keys are built once a rule, for three instances, and then substituted.
"""

import random
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from typing import Any

import numpy as np
import pytest
import sympy as sp
import z3
from hypothesis import given, settings
from hypothesis import strategies as st

from proofs.ops import Z3
from proofs.terms import instance_terms, number, request_terms
from scheduler.indicators import Indicators, indicators_of
from scheduler.ops import ARRAY, SCALAR, Ops
from scheduler.policies.catalogue import CATALOGUE, policy
from scheduler.policies.reading import Key, best, chosen, exact, pick_index, precedes, read
from scheduler.policies.rule import Pick, Policy
from scheduler.state import OPTIONAL_COLUMNS, REQUIRED_COLUMNS
from scheduler.testing.strategies import from_domain, situations
from theory.ops import SYMPY, rational
from theory.symbols import instance_symbols, request_symbols, symbol

COUNT = 3
EXAMPLES = 30
CLOSE = Fraction(1, 10**12)
COLUMNS = tuple(name for name in (*REQUIRED_COLUMNS, *OPTIONAL_COLUMNS) if name != "updated_s")
REQUEST = ("prompt_tokens", "expected_output_tokens", "block_tokens")
READABLE = [name for name, rule in CATALOGUE.items() if rule.readable]
# Knobs that lead a rule through its other branches.
VARIANTS = [
    "polyserve:form=polyserve2,ttft_slo_s=5,tpot_slo_s=0.04",
    "ray_prefix_affinity:imbalanced_threshold=4,match_rate=0.3",
    "linear:form=p_token",
    "marginal_delay_offset:kappa=64",
    "mooncake_min_ttft:threshold=2",
    "dynamo:overlap_credit_decay=0.3,decode_request_weight=16",
    "llm_d_affinity:max_penalty_ms=500,affinity=0.3",
    "dynamo_two_tier:cache_threshold=0.1,abs_threshold=4",
    "sglang_cache_aware:abs_threshold=4",
    "sglang_cache_aware:abs_threshold=4,cache_threshold=0.7,rel_threshold=1.1,fallback=smallest_tree",
    "aibrix_prefix_cache:sigmas=0.5,imbalance=32",
]
#: Predictions and whole steps take SymPy seconds an example: at home there are few, and all of them in a slow test.
LONG = [text for text in (*READABLE, *VARIANTS) if text.startswith("polyserve")]
FEW = 6
VALUES = dict[str, Any]


@dataclass
class Symbolic:
    """Keys, eligibility and the condition of each choice, as functions of numbers."""

    symbols: list[VALUES]
    request: VALUES
    keys: list[Key]
    eligible: list[Any]
    chosen: list[Any]


def recalled_domains(rule: Policy) -> Any:
    return {} if rule.rule.memory is None else rule.rule.memory.columns


def symbolic(rule: Policy, ops: Ops, instances: list[VALUES], request: VALUES) -> Symbolic:
    domains = recalled_domains(rule)
    indicators = [
        indicators_of(
            ops,
            recalled={name: values[f"recalled_{name}"] for name in domains},
            **{name: values[name] for name in COLUMNS},
            **request,
        )
        for values in instances
    ]
    keys, eligible = read(rule, ops, indicators)
    conditions = [chosen(ops, keys, eligible, index) for index in range(COUNT)] if rule.pick is Pick.FIRST else []
    return Symbolic(instances, request, keys, eligible, conditions)


@cache
def in_sympy(text: str) -> Symbolic:
    rule = exact(policy(text))
    instances = [
        instance_symbols(i)
        | {f"recalled_{n}": symbol(f"recalled_{n}_{i}", d) for n, d in recalled_domains(rule).items()}
        for i in range(COUNT)
    ]
    return symbolic(rule, SYMPY, instances, request_symbols())


@cache
def in_z3(text: str) -> Symbolic:
    rule = exact(policy(text))
    instances = [
        instance_terms(i)[0] | {f"recalled_{n}": z3.Real(f"recalled_{n}_{i}") for n in recalled_domains(rule)}
        for i in range(COUNT)
    ]
    return symbolic(rule, Z3, instances, request_terms()[0])


def pairs(world: Symbolic, instances: list[VALUES], request: VALUES) -> list[tuple[Any, Any]]:
    found = [(world.request[name], request[name]) for name in REQUEST]
    for symbols, values in zip(world.symbols, instances, strict=True):
        found.extend((symbols[name], value) for name, value in values.items())
    return found


def sympy_values(world: Symbolic, instances: list[VALUES], request: VALUES) -> tuple[list[Key], list[bool], list[bool]]:
    mapping = {name: rational(value) for name, value in pairs(world, instances, request)}

    def value(expression: Any) -> Fraction:
        result = sp.sympify(expression).xreplace(mapping)
        assert result.is_Rational, result
        return Fraction(int(result.p), int(result.q))

    def truth(expression: Any) -> bool:
        result = sp.sympify(expression).xreplace(mapping)
        assert result in (sp.true, sp.false), result
        return bool(result)

    keys = [tuple(map(value, key)) for key in world.keys]
    return keys, [truth(c) for c in world.eligible], [truth(c) for c in world.chosen]


def z3_values(world: Symbolic, instances: list[VALUES], request: VALUES) -> tuple[list[Key], list[bool], list[bool]]:
    mapping = [(name, number(value)) for name, value in pairs(world, instances, request)]

    def value(expression: Any) -> Fraction:
        if not isinstance(expression, z3.ExprRef):
            return Fraction(expression)
        result = z3.simplify(z3.substitute(expression, *mapping))
        return Fraction(result.numerator_as_long(), result.denominator_as_long())

    def truth(expression: Any) -> bool:
        if not isinstance(expression, z3.ExprRef):
            return bool(expression)
        result = z3.simplify(z3.substitute(expression, *mapping))
        assert z3.is_true(result) or z3.is_false(result), result
        return bool(z3.is_true(result))

    keys = [tuple(map(value, key)) for key in world.keys]
    return keys, [truth(c) for c in world.eligible], [truth(c) for c in world.chosen]


def scalar_read(rule: Policy, instances: list[VALUES], request: VALUES) -> tuple[list[Key], list[bool]]:
    domains = recalled_domains(rule)
    indicators = [
        indicators_of(
            SCALAR,
            recalled={name: values[f"recalled_{name}"] for name in domains},
            **{name: values[name] for name in COLUMNS},
            **request,
        )
        for values in instances
    ]
    keys, eligible = read(rule, SCALAR, indicators)
    return keys, [bool(condition) for condition in eligible]


def array_read(rule: Policy, instances: list[VALUES], request: VALUES) -> tuple[list[Key], list[bool]]:
    columns = {name: np.array([values[name] for values in instances]) for name in instances[0]}
    x: Indicators = indicators_of(
        ARRAY,
        recalled={name: columns[f"recalled_{name}"] for name in recalled_domains(rule)},
        **{name: columns[name] for name in COLUMNS},
        **request,
    )
    keys, eligible = read(rule, ARRAY, x)
    return keys, [bool(condition) for condition in eligible]


def assert_close(rounded: list[Key], true: list[Key]) -> None:
    """Every part of every key lies within CLOSE times the greatest value of that part."""
    for part in range(len(true[0])):
        scale = max(abs(key[part]) for key in true)
        for a, b in zip(rounded, true, strict=True):
            assert abs(Fraction(a[part]) - b[part]) <= CLOSE * scale, (a, b)


def assert_choice_close(rounded: int, true: int, keys: list[Key]) -> None:
    """The same instance, or one whose exact key is as near as rounding may move it."""
    for part in range(len(keys[0])):
        scale = max(abs(key[part]) for key in keys)
        difference = abs(keys[rounded][part] - keys[true][part])
        assert difference <= 2 * CLOSE * scale, (rounded, true, keys)
        if difference:
            return


@st.composite
def inputs(draw: st.DrawFn, text: str) -> tuple[list[VALUES], VALUES]:
    state, request = draw(situations(COUNT, COUNT, loose=True))
    instances = [{name: getattr(state, name)[i] for name in COLUMNS} for i in range(COUNT)]
    for values in instances:
        for name, domain in recalled_domains(policy(text)).items():
            values[f"recalled_{name}"] = draw(from_domain(domain))
    if draw(st.booleans()):  # equal rows, so that ties are common
        instances[draw(st.integers(1, COUNT - 1))] = dict(instances[0])
    return instances, {name: getattr(request, name) for name in REQUEST}


@pytest.mark.parametrize(
    "text", [pytest.param(text, marks=pytest.mark.slow if text in LONG else ()) for text in (*READABLE, *VARIANTS)]
)
@settings(max_examples=EXAMPLES)
@given(data=st.data(), seed=st.integers(0, 10**6))
def test_every_world_chooses_alike(text: str, data: st.DataObject, seed: int) -> None:
    choose_alike(text, data, seed)


@pytest.mark.parametrize("text", LONG)
@settings(max_examples=FEW)
@given(data=st.data(), seed=st.integers(0, 10**6))
def test_every_world_predicts_alike(text: str, data: st.DataObject, seed: int) -> None:
    choose_alike(text, data, seed)


def choose_alike(text: str, data: st.DataObject, seed: int) -> None:
    """In every world the same keys, the same instances and the same choice."""
    instances, request = data.draw(inputs(text))
    rule = policy(text)
    fractions = [{name: Fraction(value) for name, value in values.items()} for values in instances]
    true_request = {name: Fraction(value) for name, value in request.items()}

    true_keys, true_eligible = scalar_read(exact(rule), fractions, true_request)
    assert all(isinstance(part, Fraction | int) for key in true_keys for part in key)
    true_index = pick_index(exact(rule), true_keys, true_eligible, random.Random(seed))
    for world, values_of in ((in_sympy(text), sympy_values), (in_z3(text), z3_values)):
        keys, eligible, conditions = values_of(world, fractions, true_request)
        assert (keys, eligible) == (true_keys, true_eligible)
        if rule.pick is Pick.FIRST:
            assert conditions == [index == true_index for index in range(COUNT)]

    for reader in (scalar_read, array_read):
        keys, eligible = reader(rule, instances, request)
        assert eligible == true_eligible
        assert_close(keys, true_keys)
        if rule.pick is not Pick.WEIGHTED:
            assert_choice_close(best(keys, eligible)[0], best(true_keys, true_eligible)[0], true_keys)


@pytest.mark.parametrize("threshold", [0.1, 0.3, 0.55, 0.7, 0.8])
def test_floats_compare_matches_as_exact_numbers_do(threshold: float) -> None:
    for length in [*range(1, 300), 1000, 99_990, 131_070]:
        for hit in (int(threshold * length), int(threshold * length) + 1):
            if hit <= length:
                assert (hit / length > threshold) == (hit > Fraction(repr(threshold)) * length)
                assert (hit / length >= threshold) == (hit >= Fraction(repr(threshold)) * length)


def test_load_aware_takes_no_hit_for_longer_than_the_prompt() -> None:
    rows = [dict.fromkeys(COLUMNS, 0) | {"hit_tokens": hit} for hit in (320, 0)]  # states refuse it, quick views do not
    request = {"prompt_tokens": 160, "expected_output_tokens": 1, "block_tokens": 16}
    assert scalar_read(policy("load_aware"), rows, request)[0] == [(-1,), (0,)]


def test_sglang_is_exact_at_a_threshold_that_is_not_dyadic() -> None:
    rule = policy("sglang_cache_aware:cache_threshold=0.7")
    zeros = dict.fromkeys(COLUMNS, 0) | {"recalled_processed": 0, "recalled_tree_tokens": 0}
    for hit, filtered in ((63, False), (64, True)):
        rows = [zeros | {"hit_tokens": hit}, zeros | {"running": 1}]
        _, eligible = scalar_read(rule, rows, {"prompt_tokens": 90, "expected_output_tokens": 1, "block_tokens": 1})
        assert eligible == [True, not filtered]


def test_every_rule_of_the_catalogue_is_readable() -> None:
    assert set(CATALOGUE) == set(READABLE)


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), min_size=2, max_size=5), st.data())
def test_exactly_one_instance_is_chosen(keys: list[Key], data: st.DataObject) -> None:
    eligible = data.draw(st.lists(st.booleans(), min_size=len(keys), max_size=len(keys)))
    conditions = [chosen(SCALAR, keys, eligible, index) for index in range(len(keys))]
    assert conditions == [index == best(keys, eligible)[0] for index in range(len(keys))]


@given(*[st.tuples(st.integers(0, 2), st.integers(0, 2))] * 2)
def test_keys_are_compared_as_tuples_are(a: Key, b: Key) -> None:
    assert precedes(SCALAR, a, b) == (a < b)


def test_the_exact_worlds_refuse_or_convert_floats() -> None:
    with pytest.raises(TypeError, match="give a Fraction"):
        rational(0.1)
    assert z3.eq(number(0.1), z3.Q(1, 10))
    assert exact(policy("linear:weight=0.1")).values["weight"] == Fraction(1, 10)


def test_a_true_division_in_every_world() -> None:
    half = z3.simplify(Z3.size([1]) / number(2))
    assert (half.numerator_as_long(), half.denominator_as_long()) == (1, 2)
    assert SYMPY.size([1]) / 2 == sp.Rational(1, 2)


@pytest.mark.parametrize("ops", [SCALAR, SYMPY, Z3], ids=lambda ops: ops.name)
def test_reducers_agree(ops: Ops) -> None:
    def plain(value: Any) -> Fraction:
        value = z3.simplify(value) if isinstance(value, z3.ExprRef) else sp.sympify(value)
        return Fraction(str(value))

    column = [Fraction(3), Fraction(1, 2), Fraction(3)]
    assert [plain(f(column)) for f in (ops.least, ops.most, ops.total)] == [Fraction(1, 2), 3, Fraction(13, 2)]
    assert plain(ops.count([ops.eq(value, 3) for value in column])) == 2
    assert plain(ops.min_(2, Fraction(1, 3))) == Fraction(1, 3)
