"""What is replayed: requests short enough for the engines, and how quickly they come.

Prompts and replies of a trace are shortened by one factor, blocks with them, so that prompts share the same share of
each other. The rate comes from the fitted step times: the simulator is given all requests at once, the rate at which it
works them off is the maximum, and of that a share is taken.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from msgspec.structs import replace

from benchmarks.gpu_shapes import CONTEXT_TOKENS
from replay.engines.prompts import Prompts
from replay.experiment import Plan
from replay.sim.cluster import Cluster
from replay.sim.run import simulate
from replay.sim.ticks import TICKS_PER_S
from replay.sources import open_source
from replay.tune import TuneResult, tune
from scheduler.errors import BadInput
from scheduler.policies.catalogue import policy
from scheduler.state import End, Request

CHAT = (
    "workload:chat:requests={count},rate_per_s=10,block_tokens=16,system_tokens=64,opening_tokens_mean=350,"
    "opening_tokens_sigma=0.5,turn_tokens_mean=90,turn_tokens_sigma=0.5,output_tokens_mean=32,output_tokens_sigma=0.5,"
    "turns_mean=4,think_s_mean=1,think_s_sigma=0.5,first_token_s=0.2,context_tokens_max=1700"
)
#: Half of all requests after the first third want one prefix of 512 tokens; the others, one of sixteen.
HOT_SPOT = (
    "workload:hot_spot_ramp:requests={count},rate_per_s=10,block_tokens=16,share_start=0.05,share=0.7,ramp=0.35,"
    "classes=16,prefix_tokens=512,fresh_tokens_mean=96,fresh_tokens_sigma=0.5,output_tokens_mean=32,"
    "output_tokens_sigma=0.5"
)
#: Longest reply of a shortened trace [token].
OUTPUT_TOKENS_MAX = CONTEXT_TOKENS // 8
#: Requests of which the maximum rate is taken, and the rule that works them off.
PROBE_REQUESTS, PROBE_RULE = 400, "join_shortest_queue"
#: Fewest and most requests of a run; the rate is raised for the former.
REQUESTS_MIN, REQUESTS_MAX = 30, 5000
#: Added to the seed of the workload for that on which the line is tuned.
TUNE_SEED = 1000


@dataclass(frozen=True)
class Source:
    """Where the requests of a run come from.

    Args:
        text: for :func:`replay.sources.open_source`, with a place for ``count`` if it is a workload.
        generated: whether it is a workload.
    """

    text: str
    generated: bool = True

    def draw(self, count: int, seed: int, rate_scale: float = 1.0, skip: int = 0) -> list[Request]:
        """So many requests, short enough; fewer if a trace has no more.

        Args:
            count: how many.
            seed: of a workload.
            rate_scale: see :func:`replay.sources.open_source`.
            skip: so many before them are left out.
        """
        text = self.text.format(count=skip + count) if self.generated else self.text
        drawn = list(open_source(text, seed=seed, limit=skip + count, rate_scale=rate_scale)[0])[skip:]
        if not drawn:
            raise BadInput("--trace", text, f"more than {skip} requests")
        known = {one.id for one in drawn}
        linked = [one if one.after is None or one.after in known else replace(one, after=None) for one in drawn]
        return shortened([replace(one, arrival_s=one.arrival_s - drawn[0].arrival_s) for one in linked])


def shortened(requests: Sequence[Request], context_tokens: int = CONTEXT_TOKENS) -> list[Request]:
    """The same requests with prompt and reply within a context.

    All lengths shrink by one factor, the one that brings 95 of 100 requests within the context; the others are cut off
    at their ends, the shared prefix stays.

    Example:
        >>> long = [Request(id=i, arrival_s=0.0, prompt_tokens=16_000, output_tokens=384, block_tokens=512,
        ...                 block_keys=tuple(range(31))) for i in range(3)]
        >>> short = shortened(long)[0]
        >>> short.prompt_tokens, short.output_tokens, short.block_tokens, len(short.block_keys)
        (2000, 48, 64, 31)
    """
    lengths = sorted(one.prompt_tokens + one.output_tokens for one in requests)
    usual = lengths[min(len(lengths) - 1, math.ceil(0.95 * len(lengths)) - 1)]
    block = requests[0].block_tokens
    # Downwards: with the block rounded up, what was to fit would not.
    fitted = block if usual <= context_tokens else max(1, int(block * context_tokens / usual))
    return [_within(one, fitted / block, fitted, context_tokens) for one in requests]


def _within(request: Request, factor: float, block: int, context_tokens: int) -> Request:
    output = max(1, min(round(request.output_tokens * factor), OUTPUT_TOKENS_MAX))
    prompt = max(1, min(math.ceil(request.prompt_tokens * factor), context_tokens - output))
    keys = request.block_keys[: -(-prompt // block)]
    return replace(request, prompt_tokens=prompt, output_tokens=output, block_tokens=block, block_keys=keys)


def keyed(requests: Sequence[Request], prompts: Prompts) -> list[Request]:
    """The requests as the router sees them in a live run, for the simulator to see the same."""
    return [prompts.keyed(request, prompts.ids(request)) for request in requests]


def maximum_per_s(requests: Sequence[Request], cluster: Cluster) -> float:
    """The rate at which a simulated cluster works off requests that are all there [request/s]."""
    at_once = [replace(request, arrival_s=0.0, after=None) for request in requests]
    record = simulate(at_once, policy(PROBE_RULE), cluster)
    finished = sum(sim.end is End.FINISHED for sim in record.sims)
    if not finished:
        raise BadInput("requests", len(requests), "one that an instance can hold")
    return finished * TICKS_PER_S / record.ended_at


@dataclass(frozen=True)
class Load:
    """The requests of the runs on one workload.

    Args:
        requests: in order of arrival.
        source: where they come from.
        maximum_per_s: see :func:`maximum_per_s` [request/s].
        wanted_per_s: a share of that, or what gives a run :data:`REQUESTS_MIN` requests [request/s].
        rate_scale: what brought the source to that rate.
    """

    requests: list[Request]
    source: Source
    maximum_per_s: float
    wanted_per_s: float
    rate_scale: float

    @property
    def span_s(self) -> float:
        """From the first arrival to the last, were nobody late [s]."""
        return self.requests[-1].arrival_s - self.requests[0].arrival_s

    def others(self, seed: int) -> list[Request]:
        """As many others: with another seed, or those of the trace that come after."""
        count = len(self.requests)
        return self.source.draw(count, seed, self.rate_scale, skip=0 if self.source.generated else count)


def load_of(source: Source, cluster: Cluster, share: float, run_s: float, seed: int) -> Load:
    """Requests for a run of a length, at a share of the maximum rate.

    Args:
        source: of the requests.
        cluster: with the fitted step times.
        share: of the maximum.
        run_s: how long they shall keep coming [s].
        seed: of the workload.
    """
    most = maximum_per_s(source.draw(PROBE_REQUESTS, seed), cluster)
    wanted_per_s = max(share * most, REQUESTS_MIN / run_s)  # fewer requests would say nothing of a rule
    count = min(REQUESTS_MAX, round(wanted_per_s * run_s))
    drawn = source.draw(count, seed)
    natural_per_s = (len(drawn) - 1) / max(1e-9, drawn[-1].arrival_s - drawn[0].arrival_s)
    scale = min(1e6, max(1e-6, wanted_per_s / natural_per_s))
    return Load(source.draw(count, seed, scale), source, most, wanted_per_s, scale)


def tuned_line(load: Load, cluster: Cluster, seed: int, stop: Callable[[], None]) -> TuneResult:
    """The linear rule with the weight that is best in the simulator, on other requests of the same workload.

    Args:
        load: which workload, how much of it.
        cluster: with the fitted step times.
        seed: of the workload that is measured.
        stop: called between simulations; it may raise.
    """
    seeds = (seed + TUNE_SEED, seed + TUNE_SEED + 1) if load.source.generated else (seed + TUNE_SEED,)
    plan = Plan(policies=(), seeds=seeds, cluster=cluster, closed_loop=True, records=False)
    return tune("linear:form=p_token", load.others, plan, objective="ttft_mean", progress=lambda *_: stop())
