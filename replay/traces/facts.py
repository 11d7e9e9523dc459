"""Figures that describe a trace or a workload, before any policy has seen it.

A hit here is what one cache of infinite size would give if prompts came one after the other: the ceiling of every
policy. Since keys name chains, a block is a hit exactly if its key was seen before.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from scheduler.errors import BadInput
from scheduler.state import Request


@dataclass(frozen=True)
class TraceFacts:
    """Facts of a trace; lengths in tokens, times in seconds.

    Args:
        requests: how many.
        duration_s: from the first to the last arrival.
        prompt_tokens_mean, prompt_tokens_p50, prompt_tokens_p99, output_tokens_mean: lengths.
        distinct_blocks: different keys.
        hit_ceiling: share of all blocks that were seen before, each block counted once (block-weighted).
        intra_session_share: of those hits, the share whose block was last used by the same session; None without hits.
        reuse_age_s_p90: 90th percentile of the time between two uses of a block; None without hits.
        top_quarter_share: share of all prompt tokens in the quarter of sessions with the most; None without sessions.
    """

    requests: int
    duration_s: float
    prompt_tokens_mean: float
    prompt_tokens_p50: float
    prompt_tokens_p99: float
    output_tokens_mean: float
    distinct_blocks: int
    hit_ceiling: float
    intra_session_share: float | None
    reuse_age_s_p90: float | None
    top_quarter_share: float | None


def trace_facts(requests: Iterable[Request]) -> TraceFacts:
    """Go once through the requests and count.

    Raises:
        BadInput: if there is no request.
    """
    prompts: list[int] = []
    outputs: list[int] = []
    last_use: dict[int, tuple[float, int | None]] = {}
    hit_ages_s: list[float] = []
    blocks = intra = 0
    tokens_of_session: dict[int, int] = {}
    first_s = last_s = 0.0
    for request in requests:
        if not prompts:
            first_s = request.arrival_s
        last_s = request.arrival_s
        prompts.append(request.prompt_tokens)
        outputs.append(request.output_tokens)
        blocks += len(request.block_keys)
        use = (request.arrival_s, request.session)
        for key in request.block_keys:
            before = last_use.get(key)
            if before is not None:
                hit_ages_s.append(request.arrival_s - before[0])
                intra += request.session is not None and before[1] == request.session
            last_use[key] = use
        if request.session is not None:
            tokens_of_session[request.session] = tokens_of_session.get(request.session, 0) + request.prompt_tokens
    if not prompts:
        raise BadInput("requests", 0, "at least one request")
    hits = len(hit_ages_s)
    return TraceFacts(
        requests=len(prompts),
        duration_s=last_s - first_s,
        prompt_tokens_mean=float(np.mean(prompts)),
        prompt_tokens_p50=float(np.percentile(prompts, 50)),
        prompt_tokens_p99=float(np.percentile(prompts, 99)),
        output_tokens_mean=float(np.mean(outputs)),
        distinct_blocks=len(last_use),
        hit_ceiling=hits / blocks if blocks else 0.0,
        intra_session_share=intra / hits if hits else None,
        reuse_age_s_p90=float(np.percentile(hit_ages_s, 90)) if hits else None,
        top_quarter_share=_top_quarter_share(list(tokens_of_session.values())),
    )


def _top_quarter_share(tokens: list[int]) -> float | None:
    """Share of the tokens that the largest quarter of the sessions holds."""
    if not tokens:
        return None
    largest = sorted(tokens, reverse=True)[: max(1, len(tokens) // 4)]
    return sum(largest) / sum(tokens)
