"""What the router believes at given moments, at every level, worked out by hand.

Every engine step takes one second, whatever is in it, and computes up to fifty prompt tokens. Requests of the group
``work`` run on instance 0. Those of the group ``probe`` go to instance 1, which is so slow that none of them ends in
time to tell anything: at their arrival the observer writes down what the router knows of instance 0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from replay.sim.cluster import Cluster, roofline_cluster
from replay.sim.parts import PLAIN, QUICK, Parts, prepare
from replay.sim.record import RunRecord
from replay.sim.run import simulate
from replay.sim.sequence import Sim
from replay.sim.view import RouterView
from scheduler import Level, Request, StepTime, policy
from scheduler.policies.rotation import ROTATION, turn
from scheduler.policies.rule import Memory, Policy, Rule
from scheduler.state import End

BOTH = pytest.mark.parametrize("parts", [PLAIN, QUICK], ids=["plain", "quick"])
EVERY_LEVEL = pytest.mark.parametrize("level", list(Level), ids=[level.value for level in Level])
STEP = StepTime(1.0, 0.0, 0.0, 0.0)
GROUPS = ("work", "probe")


def by_group() -> Policy:
    """A rule that sends work to instance 0 and probes to instance 1."""

    def recall(_memory: Any, request: Request, view: Any, _knobs: Any, _rng: Any) -> Mapping[str, Sequence[int]]:
        wanted = GROUPS.index(request.group)
        return {"turn": [abs(i - wanted) for i in range(len(view.running))]}

    memory = Memory(ROTATION.columns, lambda _count, _knobs: None, recall, lambda memory, *_: memory)
    return Rule("by_group", "work here, probes there", "this test", turn, memory=memory).with_knobs()


@dataclass(frozen=True)
class Seen:
    """What was known of instance 0."""

    running: int
    waiting: int
    queued: int
    context: int
    hit: int
    kv_used: float | None
    expected_output: float | None

    @property
    def load(self) -> tuple[int, int, int]:
        """Running, waiting and queued prefill tokens."""
        return self.running, self.waiting, self.queued


def work(number: int, arrival_s: float, prompt: int, output: int, keys: tuple[int, ...] | None = None) -> Request:
    """A request with blocks of ten tokens, shared with nobody unless keys say so."""
    own = tuple(1000 * (number + 1) + block for block in range(-(-prompt // 10)))
    return Request(
        id=number,
        arrival_s=arrival_s,
        prompt_tokens=prompt,
        output_tokens=output,
        block_keys=own if keys is None else keys,
        block_tokens=10,
        group="work",
    )


def look(
    requests: list[Request],
    moments: Sequence[float],
    level: Level,
    parts: Parts = QUICK,
    *,
    keys: tuple[int, ...] = (),
    believed: float | None = None,
    delay_s: float = 0.0,
    needs: tuple[str, ...] = ("context_tokens", "kv_used_fraction", "expected_output_tokens"),
    **shape: int,
) -> list[Seen]:
    """Simulate the work, and look at instance 0 at these moments, each time with a prompt that has these keys."""
    probes = [
        Request(
            id=100 + index,
            arrival_s=moment,
            prompt_tokens=max(1, 10 * len(keys)),
            block_keys=keys,
            block_tokens=10,
            expected_output_tokens=believed,
            group="probe",
        )
        for index, moment in enumerate(moments)
    ]
    seen: list[Seen] = []

    def observer(sim: Sim, view: RouterView, _chosen: int, at: int) -> None:
        if sim.request.group == "probe":
            expected = view.observe(sim.request, sim.path, at)
            seen.append(
                Seen(
                    running=view.running[0],
                    waiting=view.waiting[0],
                    queued=view.queued_prefill_tokens[0],
                    context=view.context_tokens[0],
                    hit=view.hit_tokens[0],
                    kv_used=None if view.kv_used_fraction is None else view.kv_used_fraction[0],
                    expected_output=expected,
                )
            )

    options = {"kv_tokens": 1000, "batch_tokens": 50, "max_batch": 4, **shape}
    cluster = Cluster((STEP, STEP.scaled(1000)), level=level, delay_s=delay_s, **options)
    mixed = sorted([*requests, *probes], key=lambda request: request.arrival_s)
    simulate(prepare(mixed, parts), by_group(), cluster, observer=observer, extra_needs=frozenset(needs))
    assert len(seen) == len(moments)
    return seen


# 120 prompt tokens in chunks of 50, 50 and 20: the first of three tokens comes at 3 s, the last at 5 s.
LONG = work(0, 0.0, 120, 3)
MOMENTS = (0.5, 1.5, 2.5, 3.5, 4.5, 5.5)


@BOTH
@pytest.mark.parametrize("level", [Level.PROXY, Level.EVENTS])
def test_a_proxy_sees_dispatch_first_token_and_end(level: Level, parts: Parts) -> None:
    seen = look([LONG], MOMENTS, level, parts)
    assert [s.load for s in seen] == [(0, 1, 120)] * 3 + [(1, 0, 0)] * 2 + [(0, 0, 0)]
    assert [s.context for s in seen] == [120] * 5 + [0]
    assert [s.kv_used for s in seen] == [0.12] * 5 + [0]


@BOTH
def test_a_patched_engine_tells_every_chunk_and_every_token(parts: Parts) -> None:
    seen = look([LONG], MOMENTS, Level.PER_STEP, parts)
    assert [s.load for s in seen] == [(0, 1, 120), (0, 1, 70), (0, 1, 20), (1, 0, 0), (1, 0, 0), (0, 0, 0)]
    assert [s.context for s in seen] == [120, 120, 120, 121, 122, 0]
    # Of a hundred blocks: twelve for the prompt, a thirteenth for the second token, all free at the end.
    assert [s.kv_used for s in seen] == pytest.approx([0.12, 0.12, 0.12, 0.13, 0.13, 0])


@EVERY_LEVEL
def test_a_share_of_the_cache_is_one_at_most_and_only_for_rules_that_ask(level: Level) -> None:
    requests = [work(n, 0.0, 60, 1) for n in range(2)]
    [seen] = look(requests, [0.5], level, kv_tokens=100)
    assert seen.context == 120
    assert seen.kv_used == (pytest.approx(0.6) if level is Level.PER_STEP else 1.0)  # the second is not admitted yet
    [seen] = look(requests, [0.5], level, kv_tokens=100, needs=())
    assert (seen.kv_used, seen.expected_output) == (None, None)


@BOTH
def test_a_patched_engine_tells_its_blocks_in_the_midst_of_a_long_decode(parts: Parts) -> None:
    # A prompt of one block, first token at 1 s, then one a second: at 30.5 s the step that reads 40 tokens is under
    # way, so 4 of 20 blocks are held; nothing was told to the engine since 1 s.
    moments = (1.5, 10.5, 11.5, 30.5, 31.5, 61.5)
    seen = look([work(0, 0.0, 10, 60)], moments, Level.PER_STEP, parts, kv_tokens=200)
    assert [s.context for s in seen] == [11, 20, 21, 40, 41, 0]
    assert [s.kv_used for s in seen] == pytest.approx([0.10, 0.10, 0.15, 0.20, 0.25, 0])


@EVERY_LEVEL
@BOTH
def test_what_is_told_late_is_exactly_so_late(level: Level, parts: Parts) -> None:
    # First token at 1 s, end at 3 s, both known 1.5 s later; the dispatch is known at once.
    moments = (0.1, 1.1, 2.4, 2.5, 4.4, 4.5)
    seen = look([work(0, 0.0, 50, 3)], moments, level, parts, delay_s=1.5)
    assert [s.load for s in seen] == [(0, 1, 50)] * 3 + [(1, 0, 0)] * 2 + [(0, 0, 0)]
    assert [s.context for s in seen] == [50] * 5 + [0], "the truth of this very moment is no longer to be had"
    assert [s.expected_output for s in seen] == [256] * 5 + [(256 + 3) / 2]


@BOTH
def test_chunks_and_blocks_are_told_late_too(parts: Parts) -> None:
    keys = LONG.block_keys[:6]
    for level in (Level.EVENTS, Level.PER_STEP):
        seen = look([LONG], (0.5, 1.9, 2.0, 2.9, 3.0), level, parts, keys=keys, delay_s=1.0)
        assert [s.hit for s in seen] == [0, 0, 50, 50, 60]
        told = [120, 120, 70, 70, 20] if level is Level.PER_STEP else [120] * 5
        assert [s.queued for s in seen] == told


@BOTH
def test_a_proxy_believes_what_it_sent_and_events_tell_what_was_computed(parts: Parts) -> None:
    keys = LONG.block_keys[:6]
    hits = {level: [s.hit for s in look([LONG], MOMENTS, level, parts, keys=keys)] for level in Level}
    assert hits == {Level.PROXY: [60] * 6, Level.EVENTS: [0] + [50] + [60] * 4, Level.PER_STEP: [0] + [50] + [60] * 4}


@BOTH
def test_evictions_are_told_by_events_and_guessed_by_a_proxy(parts: Parts) -> None:
    # Six blocks. The first prompt leaves two; the second, at 2 s, takes five, so the deeper of the two goes. The third,
    # at 4 s, takes four: the deeper of the second prompt's go first, but only after the one that was left of the first.
    requests = [work(0, 0.0, 20, 1, (1, 2)), work(1, 2.0, 50, 1), work(2, 4.0, 40, 1)]
    moments = (0.5, 1.5, 2.5, 4.5, 5.5)
    believed = {
        level: [s.hit for s in look(requests, moments, level, parts, keys=(1, 2), kv_tokens=60)] for level in Level
    }
    assert believed[Level.EVENTS] == believed[Level.PER_STEP] == [0, 20, 10, 0, 0]
    assert believed[Level.PROXY] == [20, 20, 10, 0, 0]
    left = {
        level: [s.hit for s in look(requests, moments, level, parts, keys=requests[1].block_keys, kv_tokens=60)]
        for level in Level
    }
    assert left[Level.EVENTS] == left[Level.PER_STEP] == [0, 0, 0, 20, 20]
    assert left[Level.PROXY] == [0, 0, 50, 20, 20]


@EVERY_LEVEL
@BOTH
def test_a_hit_is_not_queued_and_a_whole_hit_queues_one_token(level: Level, parts: Parts) -> None:
    keys = (1, 2, 3, 4)
    filled = work(0, 0.0, 40, 1, keys)
    [seen] = look([filled, work(1, 5.0, 47, 1, (*keys, 9))], [5.5], level, parts)
    assert seen.load == (0, 1, 7)
    # The whole prompt is believed cached: the router books a token. The engine computes the last block again, and a
    # patched one says so.
    [seen] = look([filled, work(1, 5.0, 40, 1, keys)], [5.5], level, parts)
    assert seen.load == (0, 1, 10 if level is Level.PER_STEP else 1)
    assert seen.context == 40


@BOTH
def test_admission_corrects_what_was_booked(parts: Parts) -> None:
    # Both arrive before anything is computed. The second is admitted at 1 s and finds four blocks of the first.
    keys = (1, 2, 3, 4)
    requests = [work(0, 0.0, 45, 1, (*keys, 8)), work(1, 0.5, 46, 1, (*keys, 9))]
    queued = {level: [s.load for s in look(requests, (0.7, 1.5, 2.5), level, parts)] for level in Level}
    assert queued[Level.PROXY] == [(0, 2, 45 + 6), (0, 1, 6), (0, 0, 0)]
    assert queued[Level.EVENTS] == [(0, 2, 45 + 46), (0, 1, 46), (0, 0, 0)]
    assert queued[Level.PER_STEP] == [(0, 2, 45 + 46), (0, 1, 6), (0, 0, 0)]


@BOTH
def test_only_a_patched_engine_tells_of_a_preemption(parts: Parts) -> None:
    # As in test_sim_by_hand_2: at 11 s the second is pushed out with 30 tokens to compute again; at 15 s the first
    # ends and the second finds 20 of them cached; at 16 s it decodes again, at 20 s it ends.
    requests = [work(0, 0.0, 20, 15), work(1, 0.0, 20, 15)]
    moments = (10.5, 11.5, 15.5, 16.5, 20.5)
    seen = {level: [s.load for s in look(requests, moments, level, parts, kv_tokens=60)] for level in Level}
    assert seen[Level.PER_STEP] == [(2, 0, 0), (1, 1, 30), (0, 1, 10), (1, 0, 0), (0, 0, 0)]
    assert seen[Level.PROXY] == seen[Level.EVENTS] == [(2, 0, 0), (2, 0, 0), (1, 0, 0), (1, 0, 0), (0, 0, 0)]


@EVERY_LEVEL
def test_the_output_length_is_learnt_from_those_that_ended(level: Level) -> None:
    requests = [work(0, 0.0, 10, 4), work(1, 0.0, 10, 10)]  # they end at 4 s and at 11 s
    seen = look(requests, (3.5, 4.5, 10.5, 11.5), level)
    # The prior counts as one request with 256 tokens.
    assert [s.expected_output for s in seen] == [256, (256 + 4) / 2, (256 + 4) / 2, (256 + 4 + 10) / 3]
    assert [s.expected_output for s in look(requests, (3.5, 11.5), level, believed=7.0)] == [7.0, 7.0]


@EVERY_LEVEL
def test_the_context_limit_itself_is_allowed(level: Level) -> None:
    requests = [work(0, 0.0, 90, 10), work(1, 0.0, 91, 10), work(2, 0.0, 90, 11)]
    cluster = Cluster((STEP, STEP), 1000, 50, 4, level, context_limit_tokens=100)
    ends = [sim.end for sim in simulate(requests, by_group(), cluster).sims]
    assert ends == [End.FINISHED, End.REJECTED, End.REJECTED]


def test_every_instance_has_its_own_speed() -> None:
    # Two speeds for three instances: they repeat.
    cluster = roofline_cluster(3, speeds=[1.0, 0.25])
    base = roofline_cluster(1).step_times[0]
    assert [time.base_s / base.base_s for time in cluster.step_times] == pytest.approx([1, 4, 1])
    assert [spec.ticks.base for spec in cluster.specs(16)] == pytest.approx([base.base_s * f * 1e12 for f in (1, 4, 1)])
    columns: list[tuple[list[float], list[float]]] = []

    def observer(_sim: Sim, view: RouterView, _chosen: int, _at: int) -> None:
        columns.append((view.prefill_s_per_token, view.decode_s_per_request))

    requests = [Request(id=n, arrival_s=0.0, prompt_tokens=500, output_tokens=20) for n in range(3)]
    record: RunRecord = simulate(requests, policy("round_robin"), cluster, observer=observer)
    prefill, decode = columns[0]
    assert prefill == pytest.approx([base.prefill_s_per_token * factor for factor in (1, 4, 1)])
    assert decode == pytest.approx([base.decode_s_per_request * factor for factor in (1, 4, 1)])
    ends = [sim.last_at or 0 for sim in record.sims]
    assert [end / ends[0] for end in ends] == pytest.approx([1, 4, 1])
