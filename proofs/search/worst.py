"""The worst state: greatest regret under a cost.

Four steps. Real numbers give a bound that no state exceeds (proved). Integers are then asked for more and more, with
batches and prompt held at what the real numbers suggest, which leaves a linear problem, and with everything free. Small
moves of single numbers, checked on exact arithmetic, climb the rest. Last, "more than this" is asked once again: if
there is no such state, the answer is optimal.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from itertools import combinations, product
from math import isqrt
from typing import Any

from proofs.ops import Z3
from proofs.search.conditions import any_of, pairs, regret_at_least, shows, takes
from proofs.search.origin import model_of
from proofs.search.question import Found, Question
from proofs.search.replaying import exact_reading, replayed
from proofs.search.situation import Variable, variables
from proofs.search.smallest import Progress, confirmed, smallest
from proofs.search.solver import Budget, Reply, Terms, ask, terms_of
from proofs.search.telling import short

#: The real bound is brought this close, as a factor.
_CLOSE = Fraction(101, 100)
_CLOSE_WHOLE = Fraction(100_001, 100_000)
_TRIES = 60
_MISSES_MAX = 3
_CEILING = Fraction(10) ** 15
#: Products above are not formed in floats.
_FLOATS = Fraction(10) ** 300
#: Quantities that are free together while the others are held: most rules are then linear.
GROUPS = (
    ("queued_", "hit_", "context_", "kv_", "active_", "added_"),
    ("running_", "waiting_", "context_", "active_", "kv_"),
    ("prompt_", "hit_", "added_", "knob_", "expected_"),
    ("queued_", "waiting_", "true_", "prefill_", "decode_"),
)


def at_least(terms: Terms, bound: Fraction, *, strictly: bool = False, loosely: bool = False) -> Any:
    """The kind's condition together with a regret of at least ``bound``.

    Args:
        terms: a state.
        bound: of the regret.
        strictly: more than that.
        loosely: only the rule's own choice and the regret, whatever else the kind asks; more states pass, and the
            solver has less to do.
    """
    question, r = terms.question, terms.reading
    found = []
    for taken, other in pairs(question):
        shown = takes(Z3, *r.rules[0], taken) if loosely else shows(question, r, taken, other)
        regret = regret_at_least(question, r, taken, bound, strictly=strictly)
        found.append(Z3.and_(shown, regret))
    return any_of(Z3, found)


def worst(budget: Budget, question: Question, progress: Progress) -> None:
    """Find the worst state; what is known is kept in ``progress``.

    Raises:
        Interrupted: by the user.
    """
    relaxed, whole = terms_of(question, whole=False), terms_of(question)
    low = Fraction(1) if question.regret == "ratio" else Fraction(0)
    start = Progress()
    smallest(budget.part(0.1), question, start)  # a state to climb from, and for an interrupt to find
    progress.states, progress.dropped = start.states, start.dropped
    progress.none = start.none
    if progress.none:
        return
    hint, progress.bound = _real_bound(budget.part(0.3), relaxed, low, progress)
    if progress.cheapest:
        return
    for held in _starts(whole, hint):
        _push(budget.part(0.3), whole, held, low, progress)
    while progress.states and budget.left_s() > 0:
        before = progress.states[0].regret
        for group in GROUPS:
            _push(budget.part(0.3), whole, _all_but(whole, group, progress.states[0]), low, progress)
        _climb(budget.part(0.3), question, progress)
        if progress.states[0].regret == before:
            break
    if progress.states and progress.states[0].regret is not None:
        _finish(budget, relaxed, whole, progress)


def _real_bound(
    budget: Budget, relaxed: Terms, low: Fraction, progress: Progress
) -> tuple[Mapping[str, Fraction] | None, Fraction | None]:
    """The best hint where to look, and a bound that is proved; None where the solver does not know."""
    reply = ask(budget, relaxed, [at_least(relaxed, low)])
    if reply is Reply.NONE:
        progress.cheapest = True
    if isinstance(reply, Reply):
        return None, None
    hint, high, bound, misses = reply, None, max(low, Fraction(1)), 0
    for _ in range(_TRIES):
        if misses > _MISSES_MAX or (high is not None and high <= bound * _CLOSE):
            break
        middle = bound * 8 if high is None else _between(bound, high)
        if middle > _CEILING:
            break
        budget.tell(f"real numbers: is a regret of {short(middle, 4)} possible?")
        reply = ask(budget, relaxed, [at_least(relaxed, middle)], limit_s=2)
        if reply is Reply.UNKNOWN:
            misses += 1
            reply = ask(budget, relaxed, [at_least(relaxed, middle, loosely=True)], limit_s=2)
            if reply is not Reply.NONE:  # not known; perhaps a higher bound is easier to refute
                bound = middle
                continue
        if isinstance(reply, dict):
            hint, bound = reply, middle
        else:
            high = middle
    return hint, high


def _between(low: Fraction, high: Fraction) -> Fraction:
    """About the geometric mean, with few digits so that the solver's numbers stay short."""
    if low * high > _FLOATS:
        rounded = Fraction(isqrt(int(low * high)))
    else:
        rounded = Fraction(f"{(float(low) * float(high)) ** 0.5:.6g}")
    return rounded if low < rounded < high else (low + high) / 2


def _push(budget: Budget, whole: Terms, held: Sequence[Any], low: Fraction, progress: Progress) -> None:
    """Ask whole states for more regret than the best one has, some quantities held, until there is hardly more."""
    high: Fraction | None = None
    while budget.left_s() > 0:
        best = progress.states[0].regret if progress.states else None
        if best is not None and high is not None and high <= best * _CLOSE_WHOLE:
            return
        goal = low if best is None else 2 * best + 1 if high is None else _between(max(best, Fraction(1)), high)
        budget.tell(f"whole numbers: is a regret of {short(goal, 4)} possible?")
        reply = confirmed(budget, whole, [at_least(whole, goal), *held], progress, limit_s=2)
        if isinstance(reply, Found):
            if not _keep(progress, reply):
                return
        elif best is None:
            return
        else:
            high = goal


def _starts(whole: Terms, hint: Mapping[str, Fraction] | None) -> Iterator[list[Any]]:
    """Conditions that hold batches and prompt at a real hint, rounded either way, which leaves a linear problem."""
    held = [v for v in whole.names if v.name.startswith(("running_", "waiting_", "prompt_tokens"))]
    if hint is not None:
        for up in (0, 1):
            yield [whole.values[v.name] == min(v.high, max(v.low, int(hint[v.name]) + up)) for v in held]
    yield []


def _all_but(whole: Terms, group: Sequence[str], found: Found) -> list[Any]:
    """Conditions that hold everything but a group of quantities at what a state has."""
    model = model_of(whole.question, found)
    return [term == int(model[name]) for name, term in whole.values.items() if not name.startswith(tuple(group))]


def _keep(progress: Progress, found: Found) -> bool:
    """Keep a state if it is worse than the best so far."""
    best = progress.states[0].regret if progress.states else None
    if found.regret is None or (best is not None and found.regret <= best):
        return False
    progress.states = [found]
    return True


def _climb(budget: Budget, question: Question, progress: Progress) -> None:
    """Move single numbers, and pairs of them to the ends of their ranges, as long as the regret grows."""
    names = variables(question)
    values = model_of(question, progress.states[0])
    moved = True
    while moved and budget.left_s() > 0:
        moved = False
        budget.tell(f"climbing from a regret of {short(progress.states[0].regret or Fraction(0), 4)}")
        for move in _moves(names, values):
            trial = {**values, **move}
            if exact_reading(question, trial) is None:
                continue
            found = replayed(question, trial)
            if found is not None and _keep(progress, found):
                values, moved = trial, True
            if budget.left_s() <= 0:
                return


def _moves(names: Sequence[Variable], values: Mapping[str, Fraction]) -> Iterator[dict[str, Fraction]]:
    for v in names:
        now = int(values[v.name])
        steps = {v.low, v.high, now // 2, now * 2, *(now + sign * 4**power for power in range(9) for sign in (-1, 1))}
        for value in sorted(steps - {now}):
            if v.low <= value <= v.high:
                yield {v.name: Fraction(value)}
    for one, other in combinations(names, 2):
        for ends in product((one.low, one.high), (other.low, other.high)):
            yield {one.name: Fraction(ends[0]), other.name: Fraction(ends[1])}


def _finish(budget: Budget, relaxed: Terms, whole: Terms, progress: Progress) -> None:
    """Ask for strictly more than the best state has; if there is none, it is optimal."""
    best = progress.states[0].regret
    assert best is not None
    budget.tell(f"is more than {short(best, 4)} possible?")
    for terms, share in ((relaxed, 0.5), (whole, 1.0)):
        if ask(budget.part(share), terms, [at_least(terms, best, strictly=True)], limit_s=15) is Reply.NONE:
            progress.optimal, progress.bound = True, best
            return
