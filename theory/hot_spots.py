"""What the theory says of one prefix class: growth, coverage, leverage, silence, copies.

The fluid picture of claims 17 to 24: no randomness, the class in equal parts to its holders, the rest to the others. It
says what flows do in the long run. Random arrivals end every silence sooner or later (claim ``bursts_end_the_silence``)
and then make a copy, so "never" means "not by the flows alone".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import sympy as sp

from scheduler import formulas
from scheduler.domains import REQUESTS_MAX, TOKENS_MAX, Domain
from scheduler.errors import BadInput
from scheduler.indicators import new_prefill_tokens, p_token
from scheduler.ops import SCALAR, Ops, as_written
from theory.first_spill import first_spill_s
from theory.ops import SYMPY, rational

_TOKENS = Domain(0, TOKENS_MAX, integer=True, unit="token")
_TIME = Domain(0, None, unit="s", low_open=True)
_DOMAINS = {
    "class_share": Domain(0, 1, unit="share of the requests"),
    "holder_count": Domain(1, REQUESTS_MAX, integer=True, unit="instance"),
    "instance_count": Domain(2, REQUESTS_MAX, integer=True, unit="instance"),
    "prompt_tokens": Domain(1, TOKENS_MAX, integer=True, unit="token"),
    "hit_tokens": _TOKENS,
    "queued_tokens_inside": _TOKENS,
    "queued_tokens_outside": _TOKENS,
    "start_residents": Domain(0, REQUESTS_MAX, unit="request"),
    "rate_per_s": Domain(0, None, unit="request/s", low_open=True),
    "residence_s": _TIME,
    "class_residence_s": _TIME,
    "elapsed_s": Domain(0, None, unit="s"),
}


@dataclass(frozen=True, slots=True)
class HotSpot:
    """The answer of :func:`hotspot`. Numbers are exact; with symbols, conditions and numbers are expressions.

    Args:
        work_share: share of the class in the occupied batch slots.
        covered_by_count, covered_by_work: whether its share is at most the share of instances that hold it.
        growth: batch of a holder by batch of another after ``elapsed_s`` without completions; None without flow or
            time, or if nobody is there.
        growth_limit: what that ratio tends to.
        leverage: how much batch imbalance a hit buys.
        imbalance: steady residents of a holder by those of another; None without residence times.
        silent_up_to: the greatest steady imbalance without a spill; None without flow or residence times.
        spills_ever: whether the flows ever make the product send the class outside; None without flow.
        silent: not covered by work, and never a spill; None without flow.
        spill_time_s: time to the first spill, None if there is none; with symbols it holds where ``spills_ever`` does.
        copies_needed: holders that cover the class by work.
        copies_by_product: holders at which the product stops making copies, whatever the load.
        copies_missing: copies to add now.
        copies_left: copies still missing once the product has made its own.
        fresh_waits_for: residents that every warm instance must have before one without cache and queue, last in the
            list, gets any of the class.
    """

    work_share: Any
    covered_by_count: Any
    covered_by_work: Any
    growth: Any
    growth_limit: Any
    leverage: Any
    imbalance: Any
    silent_up_to: Any
    spills_ever: Any
    silent: Any
    spill_time_s: Any
    copies_needed: Any
    copies_by_product: Any
    copies_missing: Any
    copies_left: Any
    fresh_waits_for: Any

    def rows(self) -> list[tuple[str, Any, str]]:
        """What is known, as (meaning, value, unit)."""
        table = [
            ("share of the class in the work", self.work_share, ""),
            ("covered by count", self.covered_by_count, ""),
            ("covered by work", self.covered_by_work, ""),
            ("growth, holder by other", self.growth, ""),
            ("its limit", self.growth_limit, ""),
            ("leverage of a hit", self.leverage, ""),
            ("steady imbalance", self.imbalance, ""),
            ("silent up to", self.silent_up_to, ""),
            ("spills ever", self.spills_ever, ""),
            ("silent hot spot", self.silent, ""),
            ("time to the first spill", "never" if self.spills_ever is False else self.spill_time_s, "s"),
            ("holders needed", self.copies_needed, "instance"),
            ("holders the product makes", self.copies_by_product, "instance"),
            ("copies missing now", self.copies_missing, "instance"),
            ("copies missing after the product's", self.copies_left, "instance"),
            ("a fresh instance waits for", self.fresh_waits_for, "request each"),
        ]
        return [
            (meaning, value, "" if value == "never" else unit) for meaning, value, unit in table if value is not None
        ]

    def __str__(self) -> str:
        return "\n".join(f"{meaning:<36}{_shown(value)} {unit}".rstrip() for meaning, value, unit in self.rows())

    def latex(self) -> str:
        """The table for the book."""
        lines = [rf"\text{{{meaning}}} & {_tex(value)} & \text{{{unit}}}" for meaning, value, unit in self.rows()]
        return "\\begin{array}{lll}\n" + " \\\\\n".join(lines) + "\n\\end{array}"


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value) if isinstance(value, sp.Basic | str) else f"{float(value):.6g}"


def _tex(value: Any) -> str:
    if isinstance(value, bool | str):
        return rf"\text{{{_shown(value)}}}"
    return str(sp.latex(value)) if isinstance(value, sp.Basic) else _shown(value)


def hotspot(
    *,
    class_share: Any,
    holder_count: Any,
    instance_count: Any,
    prompt_tokens: Any,
    hit_tokens: Any,
    queued_tokens_inside: Any = 0,
    queued_tokens_outside: Any = 0,
    start_residents: Any = 0,
    rate_per_s: Any = None,
    residence_s: Any = None,
    class_residence_s: Any = None,
    elapsed_s: Any = None,
) -> HotSpot:
    """Everything the fluid theory says of one prefix class on a cluster.

    Args:
        class_share: x, share of the class in the requests, in [0, 1).
        holder_count: M, instances that hold the prefix, in [1, N - 1].
        instance_count: N.
        prompt_tokens, hit_tokens: length of its requests and of what a holder has of it [token].
        queued_tokens_inside, queued_tokens_outside: uncached prefill tokens queued on a holder, on another [token].
        start_residents: requests resident on each instance at the start [request].
        rate_per_s: Q, all requests; None leaves out what needs it [request/s].
        residence_s: mean residence time of all requests, or of the others; None: nothing completes [s].
        class_residence_s: of the class, if it differs [s].
        elapsed_s: when to look at the growth [s].

        Numbers are taken exactly, a float as the decimal that Python prints for it. Any of them may be a SymPy
        expression; then the answer is symbolic.

    Raises:
        BadInput: naming the field, the value and what was expected.

    Example:
        >>> found = hotspot(class_share=0.9, holder_count=1, instance_count=16, prompt_tokens=1088, hit_tokens=1024)
        >>> found.leverage, found.copies_needed, found.copies_by_product, found.copies_left
        (Fraction(17, 1), 15, 6, 9)

    Source: claims ``hotspot_growth`` to ``cold_instance_starvation``.
    """
    given = _checked(
        {
            "class_share": class_share,
            "holder_count": holder_count,
            "instance_count": instance_count,
            "prompt_tokens": prompt_tokens,
            "hit_tokens": hit_tokens,
            "queued_tokens_inside": queued_tokens_inside,
            "queued_tokens_outside": queued_tokens_outside,
            "start_residents": start_residents,
            "rate_per_s": rate_per_s,
            "residence_s": residence_s,
            "class_residence_s": residence_s if class_residence_s is None else class_residence_s,
            "elapsed_s": elapsed_s,
        }
    )
    if any(isinstance(value, sp.Basic) for value in given.values()):
        return _answer(SYMPY, **{name: value if value is None else rational(value) for name, value in given.items()})
    return _answer(SCALAR, **given)


def _checked(given: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {name: value if value is None else _value(name, value) for name, value in given.items()}
    if found["residence_s"] is None and found["class_residence_s"] is not None:
        raise BadInput("residence_s", None, "a number or expression, because class_residence_s is given")
    limits = (
        ("class_share", 1, "a share below 1: there must be other traffic"),
        ("holder_count", found["instance_count"], "fewer holders than instances"),
    )
    for name, limit, expected in limits:
        if _certainly(found[name] >= limit):
            raise BadInput(name, given[name], expected)
    if _certainly(found["hit_tokens"] > found["prompt_tokens"]):
        raise BadInput("hit_tokens", given["hit_tokens"], f"at most the {given['prompt_tokens']} tokens of the prompt")
    return found


def _certainly(condition: Any) -> bool:
    return condition is True or condition == sp.true


def _value(name: str, value: Any) -> Any:
    """A number exactly; an expression if its assumptions do not contradict the domain."""
    domain = _DOMAINS[name]
    if not isinstance(value, sp.Basic):
        return as_written(domain.check(name, value))
    if isinstance(value, sp.Float) or not isinstance(value, sp.Expr):
        raise BadInput(name, value, "an exact expression", "use sympy.Rational")
    below = value.is_nonpositive if domain.low_open else (value - sp.Rational(domain.low)).is_negative
    above = domain.high is not None and (value - sp.Rational(domain.high)).is_positive
    if below or above or value.is_real is False:
        raise BadInput(name, value, f"{domain.describe()}, and its assumptions exclude that")
    return value


def _answer(
    ops: Ops,
    *,
    class_share: Any,
    holder_count: Any,
    instance_count: Any,
    prompt_tokens: Any,
    hit_tokens: Any,
    queued_tokens_inside: Any,
    queued_tokens_outside: Any,
    start_residents: Any,
    rate_per_s: Any,
    residence_s: Any,
    class_residence_s: Any,
    elapsed_s: Any,
) -> HotSpot:
    x, m, n, rate = class_share, holder_count, instance_count, rate_per_s
    missed = new_prefill_tokens(ops, prompt_tokens, 0)
    inside = p_token(queued_tokens_inside, new_prefill_tokens(ops, prompt_tokens, hit_tokens))
    rho = formulas.leverage(p_token(queued_tokens_outside, missed), inside)
    work = x if residence_s == class_residence_s else formulas.work_share(x, class_residence_s, residence_s)
    needed = formulas.copies_needed(ops, work, n)
    by_product = formulas.product_copies(ops, work, m, n, rho)
    covered = formulas.covered(work, m, n)
    flows = None if rate is None else (formulas.hot_rate(x, m, rate), formulas.cold_rate(x, m, n, rate))
    growth = None
    if flows and elapsed_s is not None and start_residents + flows[1] * elapsed_s != 0:
        growth = formulas.hotspot_growth(start_residents, *flows, elapsed_s)
    ever = time = imbalance = limit = None
    if flows:
        ever, time = first_spill_s(ops, start_residents, *flows, rho, residence_s, class_residence_s)
    if residence_s is not None:
        imbalance = formulas.hot_rate(x, m, 1) * class_residence_s / (formulas.cold_rate(x, m, n, 1) * residence_s)
        if flows:
            limit = formulas.silent_imbalance(formulas.steady_residents(flows[1], residence_s), rho)
    return HotSpot(
        work_share=work,
        covered_by_count=formulas.covered(x, m, n),
        covered_by_work=covered,
        growth=growth,
        growth_limit=formulas.hot_rate(x, m, 1) / formulas.cold_rate(x, m, n, 1),
        leverage=rho,
        imbalance=imbalance,
        silent_up_to=limit,
        spills_ever=ever,
        silent=None if ever is None else ops.and_(ops.not_(covered), ops.not_(ever)),
        spill_time_s=time,
        copies_needed=needed,
        copies_by_product=by_product,
        copies_missing=formulas.copies_missing(ops, work, m, n),
        copies_left=formulas.copies_missing(ops, work, by_product, n),
        fresh_waits_for=formulas.residents_to_share(ops, formulas.leverage(missed, inside), cold_is_first=False),
    )
