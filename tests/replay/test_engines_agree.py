"""The quick engine, caches and indices give the same timeline as the plain ones, to the tick."""

from __future__ import annotations

from typing import Any

from hypothesis import event, given, settings
from hypothesis import strategies as st

from replay.sim.parts import PLAIN, QUICK, Parts
from replay.sim.runs import full_blocks
from replay.sim.sequence import InstanceSpec, Sim, Sinks
from replay.sim.ticks import StepTicks
from scheduler.state import Request

Arrival = tuple[int, int, int, int, int]  # gap, prompt, output, family, shared blocks


@st.composite
def specs(draw: st.DrawFn) -> InstanceSpec:
    """Small instances: tight caches, small budgets, so that eviction, blocking and preemption happen often."""
    block = draw(st.sampled_from([1, 2, 4, 16]))
    ticks = StepTicks(
        base=draw(st.integers(1, 50)),
        prefill=draw(st.integers(0, 5)),
        decode=draw(st.integers(0, 5)),
        kv=draw(st.integers(0, 3)),
        attention=draw(st.integers(0, 1)),
    )
    max_batch = draw(st.integers(1, 6))
    return InstanceSpec(ticks, draw(st.integers(4, 40)), block, draw(st.integers(max_batch + 1, 40)), max_batch)


arrivals = st.lists(
    st.tuples(st.integers(0, 400), st.integers(1, 60), st.integers(1, 60), st.integers(0, 2), st.integers(0, 8)),
    min_size=1,
    max_size=14,
)


def requests_of(rows: list[Arrival], spec: InstanceSpec) -> list[tuple[int, Request]]:
    """Requests with chained keys: family f shares its first blocks, the rest is unique to the request."""
    result, now = [], 0
    for number, (gap, prompt, output, family, shared) in enumerate(rows):
        now += gap
        blocks = -(-prompt // spec.block_tokens)
        keys = tuple(family * 1000 + d if d < shared else 10_000 + number * 1000 + d for d in range(blocks))
        request = Request(
            id=number,
            arrival_s=0,
            prompt_tokens=prompt,
            output_tokens=output,
            block_keys=keys,
            block_tokens=spec.block_tokens,
        )
        if spec.fits(request):
            result.append((now, request))
    return result


class Watched:
    """A router's index of one instance: after each event, how much of every prompt it holds.

    Pools name blocks in their own ways; what matters, and what both engines must agree on, is what a router learns.
    """

    def __init__(self, parts: Parts, paths: list[Any]) -> None:
        self.index, self.paths = parts.index(1), paths

    def hit(self, path: Any, start: int, stop: int) -> list[int]:
        self.index.add(0, path, start, stop)
        return self.holdings()

    def lost(self, evicted: Any) -> list[int]:
        self.index.remove(0, evicted)
        return self.holdings()

    def holdings(self) -> list[int]:
        return [self.index.hit_tokens(path, 1)[0] for path in self.paths]


def timeline(
    parts: Parts, spec: InstanceSpec, timed: list[tuple[int, Request]], every_step: bool = True
) -> tuple[list[Any], list[Any], Any]:
    """Everything an engine tells, and what became of every request.

    With ``every_step`` false nobody listens to what happens inside a prefill, so the quick engine may skip more.
    """
    told: list[Any] = []
    sinks = Sinks(
        first_token=lambda i, sim, t: told.append(("first", sim.request.id, t)),
        finished=lambda i, sim, t: told.append(("finished", sim.request.id, t)),
        admitted=lambda i, sim, tokens, t: told.append(("admitted", sim.request.id, tokens, t)),
        progressed=(lambda i, sim, tokens, t: told.append(("progressed", sim.request.id, tokens, t)))
        if every_step
        else None,
        preempted=lambda i, sim, tokens, t: told.append(("preempted", sim.request.id, tokens, t)),
        stored=(lambda i, path, a, b, t: told.append(("stored", index.hit(path, a, b), t))) if every_step else None,
        removed=(lambda i, evicted, t: told.append(("removed", index.lost(evicted), t))) if every_step else None,
    )
    instance = parts.engine(0, spec, sinks, parts.pool(spec.kv_blocks, every_step))
    sims = []
    requests = [request for _, request in timed]
    paths = parts.paths(requests)
    index = Watched(parts, paths)
    for (at, request), path in zip(timed, paths, strict=True):
        while instance.next_at is not None and instance.next_at <= at:
            instance.fire()
        sims.append(Sim(request, at, path, full_blocks(request)))
        instance.arrive(at, sims[-1])
    for _ in range(100_000):
        if instance.next_at is None:
            break
        instance.fire()
    assert instance.next_at is None, "the engine does not come to rest"
    ends = [(s.first_at, s.last_at, s.cached, s.generated, s.preemptions, s.end) for s in sims]
    pool = instance.pool
    return told, ends, (instance.step_count, pool.private, pool.available(), pool.cached_count())


@settings(max_examples=600)
@given(specs(), arrivals, st.booleans())
def test_both_engines_give_the_same_timeline(spec: InstanceSpec, rows: list[Arrival], every_step: bool) -> None:
    timed = requests_of(rows, spec)
    slow = timeline(PLAIN, spec, timed, every_step)
    fast = timeline(QUICK, spec, timed, every_step)
    assert fast[0] == slow[0]
    assert fast[1] == slow[1]
    assert fast[2] == slow[2]
    event(f"preemptions: {min(3, sum(end[4] for end in fast[1]))}")
    event(f"evictions: {any(kind == 'removed' for kind, *_ in fast[0])}")
    event(f"hits: {any(end[2] for end in fast[1])}")


@settings(max_examples=200)
@given(specs(), arrivals)
def test_nothing_is_lost_and_nothing_is_invented(spec: InstanceSpec, rows: list[Arrival]) -> None:
    timed = requests_of(rows, spec)
    told, ends, (_, private, available, _) = timeline(QUICK, spec, timed)
    assert [end[3] for end in ends] == [request.output_tokens for _, request in timed], "tokens produced"
    assert all(end[0] is not None and end[1] is not None and end[0] <= end[1] for end in ends)
    assert (private, available) == (0, spec.kv_blocks), "all blocks come back"
    computed: dict[int, int] = {}
    admitted: dict[int, int] = {}
    for kind, number, *rest in told:
        if kind == "progressed":
            computed[number] = computed.get(number, 0) + rest[0]
        elif kind == "admitted":
            admitted[number] = admitted.get(number, 0) + rest[0]
    preempted = {number for kind, number, *_ in told if kind == "preempted"}
    for _, request in timed:
        if request.id not in preempted:
            assert computed[request.id] == admitted[request.id], "prefill computed is what admission asked for"
