"""Hypothesis strategies derived from the domains, so that generated inputs are those the checks and proofs speak of.

Values look like a cluster: every domain is cut at its ``typical_high``, a real number is never subnormal. What belongs
together fits together: no hit is longer than the prompt, blocks to add and blocks of the prompt agree, an idle
instance has nothing queued. ``loose=True`` gives up those ties between columns that stale numbers can break.
"""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from scheduler.domains import INSTANCE_DOMAINS, REQUEST_DOMAINS, TIME_DOMAIN, Domain
from scheduler.policies.catalogue import CATALOGUE
from scheduler.policies.rule import Knob, Policy
from scheduler.state import OPTIONAL_COLUMNS, ClusterState, Request

#: Least positive real number generated, as a share of ``typical_high``.
_FINENESS = 1 / 4096


def from_domain(domain: Domain) -> st.SearchStrategy[Any]:
    """Values of a domain up to its ``typical_high``: whole numbers, or floats that are 0 or not tiny."""
    high = domain.typical_high if domain.high is None else min(domain.high, domain.typical_high)
    high = max(high, domain.low)
    if domain.integer:
        return st.integers(int(domain.low) + domain.low_open, max(int(high), int(domain.low) + domain.low_open))
    least = domain.low + max(high - domain.low, 1) * _FINENESS
    reals = st.floats(least, max(high, least), allow_nan=False, allow_subnormal=False)
    return reals if domain.low_open else st.just(float(domain.low)) | reals


@st.composite
def requests(draw: st.DrawFn, *, with_keys: bool = False) -> Request:
    """Requests with an expected output length; ``with_keys`` adds a key for each block (then prompts are shorter)."""
    block_tokens = draw(st.sampled_from([1, 16, 64, 512]) | from_domain(REQUEST_DOMAINS["block_tokens"]))
    longest = 64 * block_tokens if with_keys else int(REQUEST_DOMAINS["prompt_tokens"].typical_high)
    prompt_tokens = draw(st.integers(1, longest) | st.integers(1, 40).map(lambda blocks: blocks * block_tokens))
    blocks = -(-prompt_tokens // block_tokens)
    seed = draw(st.integers(0, 3))
    return Request(
        id=draw(st.integers(0, 1000)),
        arrival_s=draw(from_domain(TIME_DOMAIN)),
        prompt_tokens=prompt_tokens,
        output_tokens=draw(st.integers(1, 2000)),
        block_keys=tuple(seed * 1_000_000 + block for block in range(blocks)) if with_keys else (),
        block_tokens=block_tokens,
        expected_output_tokens=draw(from_domain(REQUEST_DOMAINS["expected_output_tokens"])),
    )


def _hit_tokens(request: Request, loose: bool) -> st.SearchStrategy[int]:
    block, prompt = request.block_tokens, request.prompt_tokens
    aligned = st.integers(0, prompt // block).map(lambda blocks: blocks * block)
    return aligned | st.integers(0, prompt) if loose else aligned


@st.composite
def _instances(draw: st.DrawFn, request: Request, loose: bool) -> dict[str, Any]:
    values = {name: draw(from_domain(domain)) for name, domain in INSTANCE_DOMAINS.items()}
    values["hit_tokens"] = draw(_hit_tokens(request, loose))
    total = -(-request.prompt_tokens // request.block_tokens)
    values["added_blocks"] = draw(st.integers(total - values["hit_tokens"] // request.block_tokens, total))
    if not loose and draw(st.sampled_from([False, False, False, True])):
        values["running"] = values["waiting"] = 0
    if not loose and not values["waiting"]:
        values["queued_prefill_tokens"] = 0
    if not loose and not values["running"] + values["waiting"]:
        values.update(context_tokens=0, kv_used_fraction=0.0, active_blocks=0)
    return values


@st.composite
def cluster_states(
    draw: st.DrawFn,
    min_instances: int = 1,
    max_instances: int = 8,
    *,
    request: Request | None = None,
    complete: bool = True,
    loose: bool = False,
) -> ClusterState:
    """Cluster states for a request.

    Args:
        draw: given by Hypothesis.
        min_instances, max_instances: how many instances.
        request: whose hits and blocks the state tells; a drawn one if None.
        complete: False leaves optional columns out at random.
        loose: True lets hits end inside a block and columns contradict each other, as stale numbers do.
    """
    request = draw(requests()) if request is None else request
    rows = draw(st.lists(_instances(request, loose), min_size=min_instances, max_size=max_instances))
    columns = {name: tuple(row[name] for row in rows) for name in INSTANCE_DOMAINS}
    if not complete:
        columns = {n: c for n, c in columns.items() if n not in OPTIONAL_COLUMNS or draw(st.booleans())}
    ids = tuple(f"instance-{index}" for index in range(len(rows)))
    return ClusterState(ids=ids, now_s=request.arrival_s, **columns)


@st.composite
def situations(
    draw: st.DrawFn, min_instances: int = 1, max_instances: int = 8, *, complete: bool = True, loose: bool = False
) -> tuple[ClusterState, Request]:
    """A request and a state that fits it, as ``(state, request)``; arguments as for :func:`cluster_states`."""
    request = draw(requests())
    state = cluster_states(min_instances, max_instances, request=request, complete=complete, loose=loose)
    return draw(state), request


def knob_values(knob: Knob) -> st.SearchStrategy[Any]:
    """Values of a knob: its default, those of its sweep, those of its domain."""
    values = st.sampled_from([knob.default, *knob.sweep, *knob.choices])
    return values if knob.domain is None else values | from_domain(knob.domain)


@st.composite
def policies(draw: st.DrawFn, *, names: tuple[str, ...] = (), knobs: bool = True) -> Policy:
    """Policies of the catalogue (or of ``names``), with drawn knobs unless ``knobs`` is False."""
    rule = CATALOGUE[draw(st.sampled_from(names or tuple(CATALOGUE)))]
    return rule.with_knobs({knob.name: draw(knob_values(knob)) for knob in rule.all_knobs()} if knobs else {})
