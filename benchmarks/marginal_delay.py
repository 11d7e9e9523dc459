"""The law of marginal delay against the simulator: predicted over simulated added delay, premise by premise.

Every number here is simulated, none is measured on an engine. A row drops one premise of the law: steps that cost more
than their tokens, small chunks, decode that costs time, outputs that end early, arrivals that go on. The last part
takes the step times of a real model and asks what the rules choose between random instances, and what that costs.
"""

from __future__ import annotations

import datetime as dt
import random
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.measure import machine, save
from replay.added_delay import AddedDelay, added_delay
from replay.sim.cluster import Cluster
from replay.sim.cost_model import step_time
from replay.sim.run import simulate
from replay.sim.ticks import TICKS_PER_S, to_seconds
from scheduler import ClusterState, Level, Request, StepTime, decide, formulas, policy

TAU, BASE, GAMMA, READS = 1e-4, 5e-3, 5e-5, 2e-8
BLOCK = 16
#: Block keys of the request; who shares its prefix has the same.
KEYS = range(1000)
SEEDS = range(40)
#: Instances of a decision, and decisions, in the last part.
CANDIDATES, DECISIONS = 8, 200
RULES = (
    "lmetric", "marginal_delay", "marginal_delay_offset:overlap=1.0", "linear:form=p_token,weight=0.5",
    "least_p_token", "join_shortest_queue", "random",
)  # fmt: skip


@dataclass(frozen=True)
class Setting:
    """One row: an engine, and what its requests look like.

    Args:
        step: step time of the instance.
        batch_tokens: tokens of a step.
        running, waiting: most requests on the instance.
        left: least and most output tokens of the others; they run for so many steps at least.
        load: share of the time that later arrivals keep the prefill busy.
        output: output tokens of the request.
        hits: whether a running request may share a prefix with it.
    """

    step: StepTime
    batch_tokens: int = 8192
    running: int = 20
    waiting: int = 6
    left: tuple[int, int] = (3000, 4000)
    load: float = 0.0
    output: int = 1
    hits: bool = False

    def cluster(self) -> Cluster:
        """One instance; KV capacity never binds."""
        return Cluster((self.step,), kv_tokens=10**8, batch_tokens=self.batch_tokens, level=Level.PER_STEP)


def ask(number: int, arrival_s: float, prompt: int, output: int, keys: range | None = None) -> Request:
    """A request whose prompt is cached nowhere, unless it shares its keys with another."""
    blocks = -(-prompt // BLOCK)
    start = 1_000_000 * (number + 1)
    return Request(
        id=number,
        arrival_s=arrival_s,
        prompt_tokens=prompt,
        output_tokens=output,
        block_keys=tuple(keys[:blocks] if keys else range(start, start + blocks)),
        block_tokens=BLOCK,
    )


def situation(setting: Setting, rng: random.Random, prompt: int) -> tuple[list[Request], Request]:
    """Requests that run, requests that wait, the request itself behind them, and later arrivals."""
    running = [
        ask(number, 0.0, rng.randint(50, 2000), rng.randint(*setting.left))
        for number in range(rng.randint(0, setting.running))
    ]
    hit = rng.choice((0, 0, 25, 50, 75, 100)) * prompt // 100 if setting.hits else 0
    if hit:  # someone with the same prefix runs already
        running.append(ask(900, 0.0, hit, rng.randint(*setting.left), KEYS))
    begin = 1.0
    if running:
        sims = simulate(running, policy("lmetric"), setting.cluster()).sims
        begin = to_seconds(max(sim.first_at or 0 for sim in sims))
    waiting = [
        ask(1000 + number, begin, rng.randint(50, 4000), rng.randint(*setting.left))
        for number in range(rng.randint(0, setting.waiting))
    ]
    later = []
    if setting.load:
        each = 100
        every = each * setting.step.prefill_s_per_token / setting.load
        later = [ask(2000 + n, begin + every * (n + 1), each, 1) for n in range(800)]
    return [*running, *waiting, *later], ask(5000, begin, prompt, setting.output, KEYS)


def plain(_: Setting, a: AddedDelay) -> float:
    """``tau (q + n B)``."""
    return TAU * float(formulas.marginal_delay(a.seen.queued_prefill_tokens, a.seen.new_tokens, a.seen.batch))


def chunked(setting: Setting, a: AddedDelay) -> float:
    """With the overhead of the steps of the own wait."""
    step, seen = setting.step, a.seen
    chunk = setting.batch_tokens - seen.running
    e = formulas.step_overhead(step.base_s, step.decode_s_per_request, seen.running, TAU, chunk)
    return TAU * float(formulas.chunked_delay(seen.queued_prefill_tokens, seen.new_tokens, seen.batch, e))


def loaded(setting: Setting, a: AddedDelay) -> float:
    """With arrivals that go on."""
    seen = a.seen
    return TAU * float(
        formulas.loaded_delay(seen.queued_prefill_tokens, seen.new_tokens, seen.batch, setting.load, 100)
    )


def with_decode(setting: Setting, a: AddedDelay) -> float:
    """With chunks, decode and KV reads; the simulator makes the first token in the prefill."""
    step, seen, steps = setting.step, a.seen, setting.output - 1
    tau = step.prefill_s_per_token
    chunk = setting.batch_tokens - seen.running
    e = formulas.step_overhead(step.base_s, step.decode_s_per_request, seen.running, tau, chunk)
    prefill = tau * formulas.chunked_delay(seen.queued_prefill_tokens, seen.new_tokens, seen.batch, e)
    gamma, reads, prompt = step.decode_s_per_request, step.kv_s_per_token, seen.new_tokens + 1
    pair = tau * formulas.kappa_with_kv_reads(tau, gamma, steps, reads, prompt)
    others = tau * formulas.kv_read_delay(tau, steps, reads, seen.context_tokens)
    alone = steps * (step.base_s + gamma + reads * (prompt + (steps - 1) / 2))
    return float(prefill + alone + (seen.batch - 1) * pair + others)


Predicted = Callable[[Setting, AddedDelay], float]
ROWS: Mapping[str, tuple[Setting, Mapping[str, Predicted]]] = {
    "premises hold": (Setting(StepTime(0.0, TAU, 0.0, 0.0)), {"law": plain}),
    "empty step 5 ms, chunk 8192": (Setting(StepTime(BASE, TAU, 0.0, 0.0)), {"law": plain, "chunked": chunked}),
    "empty step 5 ms, chunk 2048": (Setting(StepTime(BASE, TAU, 0.0, 0.0), 2048), {"law": plain, "chunked": chunked}),
    "empty step 5 ms, chunk 512": (Setting(StepTime(BASE, TAU, 0.0, 0.0), 512), {"law": plain, "chunked": chunked}),
    "outputs of 1 to 40 tokens, chunk 512": (
        Setting(StepTime(BASE, TAU, 0.0, 0.0), 512, left=(1, 40)),
        {"law": plain, "chunked": chunked},
    ),
    "later arrivals, load 0.2": (Setting(StepTime(0.0, TAU, 0.0, 0.0), load=0.2), {"law": plain, "loaded": loaded}),
    "later arrivals, load 0.6": (Setting(StepTime(0.0, TAU, 0.0, 0.0), load=0.6), {"law": plain, "loaded": loaded}),
    "decode and KV reads, 200 output tokens": (
        Setting(StepTime(BASE, TAU, GAMMA, READS), output=200),
        {"law": plain, "with decode": with_decode},
    ),
}


def ratios(name: str, seeds: Sequence[int] = SEEDS) -> dict[str, dict[str, float]]:
    """Predicted over simulated added delay of a row: median, least, greatest."""
    setting, forms = ROWS[name]
    found: dict[str, list[float]] = {form: [] for form in forms}
    for seed in seeds:
        rng = random.Random(seed)
        result = added_delay(setting.cluster(), *situation(setting, rng, rng.randint(50, 4000)))
        for form, predicted in forms.items():
            found[form].append(predicted(setting, result) * TICKS_PER_S / result.total)
    return {
        form: {"median": round(statistics.median(v), 4), "min": round(min(v), 4), "max": round(max(v), 4)}
        for form, v in found.items()
    }


def decision(seed: int) -> tuple[list[float], list[float], ClusterState, Request]:
    """Random instances for one request: simulated added delay, predicted, and what the router sees."""
    rng = random.Random(seed)
    prompt, output = rng.randint(200, 8000), rng.randint(20, 400)
    setting = Setting(step_time("Qwen2-7B", "H20"), running=60, left=(400, 800), output=output, hits=True)
    results = [added_delay(setting.cluster(), *situation(setting, rng, prompt)) for _ in range(CANDIDATES)]
    simulated = [result.total / TICKS_PER_S for result in results]
    predicted = [with_decode(setting, result) for result in results]
    state = ClusterState(
        ids=tuple(map(str, range(CANDIDATES))),
        running=tuple(result.seen.running for result in results),
        waiting=tuple(result.seen.waiting for result in results),
        queued_prefill_tokens=tuple(result.seen.queued_prefill_tokens for result in results),
        hit_tokens=tuple(prompt - result.seen.new_tokens for result in results),
        prefill_s_per_token=(setting.step.prefill_s_per_token,) * CANDIDATES,
        decode_s_per_request=(setting.step.decode_s_per_request,) * CANDIDATES,
    )
    return (
        simulated,
        predicted,
        state,
        Request(id=0, arrival_s=0.0, prompt_tokens=prompt, expected_output_tokens=output),
    )


def choices(decisions: int = DECISIONS) -> dict[str, Any]:
    """How often each rule takes the instance of least simulated delay, and how much delay it adds over the least."""
    chosen: dict[str, list[tuple[float, float]]] = {}
    errors = []
    for seed in range(decisions):
        simulated, predicted, state, request = decision(seed)
        errors += [p / s for p, s in zip(predicted, simulated, strict=True)]
        taken = {text: decide(policy(text), state, request, rng=random.Random(seed))[0].instance for text in RULES}
        taken["least predicted delay"] = predicted.index(min(predicted))
        for name, index in taken.items():
            chosen.setdefault(name, []).append((simulated[index], min(simulated)))
    rows = {}
    for name, pairs in chosen.items():
        rows[name] = {
            "takes_the_best": round(sum(1 for delay, least in pairs if delay == least) / len(pairs), 3),
            "delay_over_least": round(sum(delay for delay, _ in pairs) / sum(least for _, least in pairs), 3),
            "worst_ratio": round(max(delay / least for delay, least in pairs), 2),
        }
    spread = {"median": statistics.median(errors), "min": min(errors), "max": max(errors)}
    return {
        "engine": "Qwen2-7B on H20, roofline",
        "instances": CANDIDATES,
        "decisions": decisions,
        "predicted_over_simulated": {name: round(value, 4) for name, value in spread.items()},
        "rules": rows,
    }


def run() -> None:
    """Simulate, print, save."""
    print("marginal delay against the simulator (simulated, not measured)")
    rows = {}
    for name in ROWS:
        rows[name] = ratios(name)
        for form, row in rows[name].items():
            print(f"  {name:40} {form:12} {row['median']:.3f} [{row['min']:.3f}, {row['max']:.3f}]")
    found = choices()
    print(f"choices among {CANDIDATES} instances")
    for name, row in found["rules"].items():
        print(f"  {name:40} best {row['takes_the_best']:.3f}, delay over least {row['delay_over_least']:.3f}")
    result = {
        "kind": "simulated; no number here is measured on an engine",
        "choices_premises": "nothing arrives later; the others have 400 to 800 output tokens, the request 20 to "
        "400, so most outlive it; attention costs time in the "
        "simulator and not in the law",
        "unit": "predicted over simulated added delay [1]",
        "seeds": len(SEEDS),
        "rows": rows,
        "choices": found,
        "machine": machine(),
        "date": dt.datetime.now(tz=dt.UTC).date().isoformat(),
        "command": "make bench BENCH_ARGS=marginal_delay",
    }
    print(f"saved {save('marginal_delay', result).name}")
