"""SMetric: place a session by a product, then stay with its cache while that can answer in time.

First turn of a session: least ``(q + n)(R + W + 1)``, load that counts the cached prefix too. Later turns: the instance
with the longest cached prefix, unless its predicted time to first token exceeds ``slack (1 s + 62.5 ms per 1,000 prompt
tokens)``; then the least product again, over all. Predicted time: ``tau (q + n) + e n (L - n/2)``, n the uncached
tokens, tau and e the engine's times per prefill token and per pair of attention [s].

Choices: the slack is not published; 1 takes the objective as it is. Of several instances with the longest prefix those
that answer in time stay, the least product decides; a later turn whose prefix is cached nowhere is placed like a first
one (that is all of the source's check for evictions, which compares the best hit with the one expected). The queue's
attention is not known and left out. The product is ours, with its floor of one token and the request itself counted.
At exactly the objective the instance stays. Ties: lowest index.

A turn is a later one if the request names the one ``after`` which it comes, or if its ``session`` was seen before. The
source's router keeps nothing: it counts the messages of the prompt; a stateless one here would have ``after`` alone,
which traces in open loop leave out. Of requests with neither every one is a first turn.

Memory: the sessions seen, in two generations of at most ``GENERATION``: a session is forgotten when between one and two
generations of others came up since.

Source: SMetric, arXiv 2607.08565, second hand (docs/sources.md#smetric).
"""

from __future__ import annotations

import random
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from scheduler.domains import Domain
from scheduler.indicators import Indicators
from scheduler.ops import Number, Ops, Over
from scheduler.policies.common import longest_match
from scheduler.policies.product import product
from scheduler.policies.rule import Aggregates, Knob, Knobs, Memory, Rule
from scheduler.state import Request

#: Sessions in a generation: at one new session a second, those of more than an hour.
GENERATION = 4096


class Sessions(NamedTuple):
    """Sessions seen, each generation in rising order."""

    older: tuple[int, ...] = ()
    newer: tuple[int, ...] = ()


def _holds(generation: tuple[int, ...], session: int) -> bool:
    place = bisect_left(generation, session)
    return place < len(generation) and generation[place] == session


def with_session(seen: Sessions, session: int) -> Sessions:
    """The sessions with one more, the newest.

    Example:
        >>> with_session(Sessions(newer=(1, 7)), 3)
        Sessions(older=(), newer=(1, 3, 7))
    """
    older, newer = seen
    if _holds(newer, session):
        return seen
    if len(newer) == GENERATION:
        older, newer = newer, ()
    place = bisect_left(newer, session)
    return Sessions(older, (*newer[:place], session, *newer[place:]))


def _recall(seen: Sessions, request: Request, view: Any, _: Knobs, __: random.Random) -> Mapping[str, Sequence[Number]]:
    session = request.session
    known = session is not None and (_holds(seen.newer, session) or _holds(seen.older, session))
    return {"later_turn": [int(known or request.after is not None)] * len(view.running)}


def _remember(seen: Sessions, request: Request, _: Any, __: int, ___: Knobs) -> Sessions:
    return seen if request.session is None else with_session(seen, request.session)


#: Column ``later_turn``: 1 if the session has had a turn, the same for every instance.
SESSIONS = Memory(
    columns={"later_turn": Domain(0, 1, integer=True, typical_high=1)},
    start=lambda _count, _knobs: Sessions(),
    recall=_recall,
    remember=_remember,
)


def predicted_s(_ops: Ops, x: Indicators) -> Number:
    """Prefill of the queue and of the request, with its attention [s]."""
    own = x.new_prefill_tokens
    return x.prefill_s_per_token * x.p_token + x.attention_s_per_pair * own * (2 * x.prompt_tokens - own) / 2


def _warm_in_time(ops: Ops, x: Indicators, longest: Number, knobs: Knobs) -> Number:
    objective_s = knobs.slo_s + knobs.slo_s_per_token * x.prompt_tokens
    warm = ops.and_(x.hit_tokens > 0, ops.eq(x.hit_tokens, longest))
    return ops.and_(warm, predicted_s(ops, x) <= knobs.slack * objective_s)


def turn_and_longest(ops: Ops, over: Over, knobs: Knobs) -> Aggregates:
    """Whether this is a later turn that some warm instance answers in time, and the longest cached prefix."""
    longest = longest_match(ops, over, knobs)
    later = over.most(lambda x: x.recalled["later_turn"]) > 0
    return ops.and_(later, over.count(lambda x: _warm_in_time(ops, x, longest, knobs)) > 0), longest


def warm_or_placed_anew(ops: Ops, x: Indicators, aggregates: Aggregates, knobs: Knobs) -> Number:
    """The warm instances that answer in time, if it is a later turn and there is one; else all."""
    stays, longest = aggregates
    return ops.or_(ops.not_(stays), _warm_in_time(ops, x, longest, knobs))


SMETRIC = Rule(
    "smetric",
    "product for a session's first turn, then its cache in time",
    "SMetric, arXiv 2607.08565; docs/sources.md#smetric",
    product,
    turn_and_longest,
    warm_or_placed_anew,
    knobs=(
        Knob(
            "slack",
            1.0,
            "factor on the objective up to which a session stays",
            Domain(0, None, typical_high=4),
            sweep=(0.5, 1.0, 2.0, 4.0),
        ),
        Knob(
            "slo_s",
            1.0,
            "time to first token allowed for the shortest prompt",
            Domain(0, None, unit="s", typical_high=5),
            sweep=(0.5, 1.0, 2.0),
        ),
        Knob(
            "slo_s_per_token",
            62.5e-6,
            "added for each token of the prompt",
            Domain(0, None, unit="s/token", typical_high=5e-4),
            sweep=(0.0, 62.5e-6, 2.5e-4),
        ),
    ),
    needs=("prefill_s_per_token", "attention_s_per_pair"),
    memory=SESSIONS,
)

RULES = (SMETRIC,)
