"""Conversations: turn after turn on a growing context, many at a time, lazily and in order of arrival.

Sessions start as a Poisson process. A turn's prompt is the prompt before, the reply to it, and new text (of the user
or of a tool). On block keys: the blocks that lie fully inside the prompt before are shared with it; the others, which
hold tokens of the reply or follow them, get fresh keys. An engine that also keeps what it has decoded could serve the
reply's blocks too; keys here name prompt blocks only, so hits are understated by at most one reply a turn.

Each later turn carries ``after`` and ``think_s``, for a replay that waits for the reply, and an ``arrival_s`` for one
that does not: the time of the turn before + ``first_token_s`` + ``reply_s_per_token`` for each token of the reply +
the think time.

The run begins in the middle of things: sessions start ``warm_up`` mean durations earlier, and what arrives before the
cut is left out, so that the rate is right from the first second and some of the first turns have a long context that
no cache holds, as in every trace cut out of a longer log. Links across the cut are dropped.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from random import Random

from replay.workloads.draws import Keys, Prefixes, extended
from replay.workloads.knobs import SECONDS, Parameter, Values, common
from scheduler.domains import REQUEST_DOMAINS, Domain
from scheduler.state import Request

#: Sessions drawn to learn the mean number of turns and the mean duration, which the context limit makes hard to
#: compute.
_PILOT_SESSIONS = 1_000
_PILOT_TURNS = 50_000
#: At most so many turns are drawn before the cut; where sessions last for days, the run then starts below its rate.
_WARM_UP_REQUESTS = 100_000


def session_parameters(rate_per_s: float, rate_source: str) -> tuple[Parameter, ...]:
    """The parameters that every family of sessions has."""
    return (
        *common(rate_per_s, rate_source),
        Parameter("closed_loop", True, Domain(0, 1, integer=True), "sessions wait for the reply in production"),
        Parameter("first_token_s", 1.0, SECONDS, "open-loop estimate: the fixed part of SMetric's TTFT target"),
        Parameter(
            "reply_s_per_token", 0.02, SECONDS, "open-loop estimate: SMetric's TPOT target (docs/sources.md#smetric)"
        ),
        Parameter("context_tokens_max", 131_072, REQUEST_DOMAINS["prompt_tokens"], "128K context, as in SMetric"),
        Parameter("warm_up", 3.0, Domain(0, 100)),
    )


@dataclass(frozen=True)
class Plan:
    """What makes one family of sessions; each function draws from the randomness it is given.

    Args:
        group: name of the family.
        turns: number of turns of a session.
        opening_tokens: text after the system prompt in the first turn [token].
        turn_tokens: new text in each later turn [token].
        output_tokens: length of a reply [token].
        think_s: pause between a reply and the next turn [s].
        system: index of the session's system prompt.
        system_tokens: length of each system prompt [token].
    """

    group: str
    turns: Callable[[Random], int]
    opening_tokens: Callable[[Random], int]
    turn_tokens: Callable[[Random], int]
    output_tokens: Callable[[Random], int]
    think_s: Callable[[Random], float]
    system: Callable[[Random], int]
    system_tokens: Sequence[int]


@dataclass
class _Session:
    """A conversation at the point where its next turn is due."""

    number: int
    system: int
    turns_left: int
    prompt_tokens: int
    prompt_tokens_before: int = 0
    keys: tuple[int, ...] | None = None
    last_id: int | None = None
    think_s: float = 0.0


def session_requests(rng: Random, plan: Plan, values: Values) -> Iterator[Request]:
    """The requests of all sessions, merged by time of arrival."""
    keys = Keys()
    prefixes = Prefixes(keys, values["block_tokens"])
    turns_mean, duration_s_mean = _pilot(plan, values)
    session_rate_per_s = values["rate_per_s"] / turns_mean
    begin_s = min(values["warm_up"] * duration_s_mean, _WARM_UP_REQUESTS / values["rate_per_s"])
    due: list[tuple[float, int, _Session]] = []
    numbers = itertools.count()
    next_start_s = rng.expovariate(session_rate_per_s)
    count = 0
    while count < values["requests"]:
        while not due or next_start_s <= due[0][0]:
            session = _opened(rng, plan, values, next(numbers))
            heapq.heappush(due, (next_start_s, session.number, session))
            next_start_s += rng.expovariate(session_rate_per_s)
        now_s, _, session = heapq.heappop(due)
        output_tokens = plan.output_tokens(rng)
        if now_s >= begin_s:
            if not count:
                begin_s = now_s
            yield _turn(plan, values, session, count, now_s - begin_s, output_tokens, prefixes, keys)
            count += 1
        gap_s = _advance(rng, plan, values, session, output_tokens)
        if gap_s is not None:
            heapq.heappush(due, (now_s + gap_s, session.number, session))


def _opened(rng: Random, plan: Plan, values: Values, number: int) -> _Session:
    """A session before its first turn."""
    system = plan.system(rng)
    prompt_tokens = min(plan.system_tokens[system] + plan.opening_tokens(rng), values["context_tokens_max"])
    return _Session(number=number, system=system, turns_left=plan.turns(rng), prompt_tokens=prompt_tokens)


def _turn(
    plan: Plan,
    values: Values,
    session: _Session,
    request_id: int,
    arrival_s: float,
    output_tokens: int,
    prefixes: Prefixes,
    keys: Keys,
) -> Request:
    """The request of a session's next turn; the session remembers its keys."""
    block_tokens = values["block_tokens"]
    if session.keys is None:
        shared_tokens = min(plan.system_tokens[session.system], values["context_tokens_max"])
        base = prefixes.of(session.system, shared_tokens)
    else:
        base = session.keys[: session.prompt_tokens_before // block_tokens]
    session.keys = extended(base, session.prompt_tokens, block_tokens, keys)
    linked = values["closed_loop"] and session.last_id is not None
    request = Request(
        id=request_id,
        arrival_s=arrival_s,
        prompt_tokens=session.prompt_tokens,
        output_tokens=output_tokens,
        block_keys=session.keys,
        block_tokens=block_tokens,
        session=session.number,
        after=session.last_id if linked else None,
        think_s=session.think_s if linked else 0.0,
        group=plan.group,
    )
    session.last_id = request_id
    return request


def _advance(rng: Random, plan: Plan, values: Values, session: _Session, output_tokens: int) -> float | None:
    """Prepare the next turn; the time from arrival to arrival [s], or None if the session has ended."""
    session.turns_left -= 1
    if session.turns_left < 1:
        return None
    grown_tokens = session.prompt_tokens + output_tokens + plan.turn_tokens(rng)
    if grown_tokens > values["context_tokens_max"]:
        return None
    session.prompt_tokens_before, session.prompt_tokens = session.prompt_tokens, grown_tokens
    session.think_s = plan.think_s(rng)
    return float(values["first_token_s"] + values["reply_s_per_token"] * output_tokens + session.think_s)


def _pilot(plan: Plan, values: Values) -> tuple[float, float]:
    """Mean number of turns and mean duration [s] of a session, from sessions drawn for this alone."""
    rng = Random(0)
    sessions = turns = 0
    duration_s = 0.0
    while sessions < _PILOT_SESSIONS and turns < _PILOT_TURNS:
        session = _opened(rng, plan, values, sessions)
        sessions += 1
        gap_s: float | None = 0.0
        while gap_s is not None:
            turns += 1
            duration_s += gap_s
            gap_s = _advance(rng, plan, values, session, plan.output_tokens(rng))
    return turns / sessions, duration_s / sessions
