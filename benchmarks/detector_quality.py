"""How soon and how rightly the hot-spot monitor alarms: generated arrivals with a known onset, holders fixed.

A class that M of N instances hold has half of its coverage, until its share steps (or climbs) to the one that gives a
fluid imbalance of 1 to 8. A true hot spot is one whose fluid imbalance exceeds 1.25; at 1.1 the class is uncovered, but
no hot spot yet. Half of the other requests share nothing, the rest are of two classes on each instance that does not
hold the first. The rule always takes a holder, as it does in a hot spot. Residents stay for an exponential number of
arrivals. Nobody counts the dispatches, so the copies that the monitor asks for are those of the coverage law at the
share that it estimates. Arrivals are independent, or come in sessions: then the shares are those of the sessions that
start, each of geometrically many requests, and nothing is promised.
"""

from __future__ import annotations

import datetime as dt
import heapq
import math
import random
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.measure import machine, save
from scheduler.monitor import Monitor
from theory.monitoring import alarm_promise

SIZES = ((8, 1), (8, 2), (16, 1), (16, 4), (64, 1), (64, 16))  # N, M
IMBALANCES = (1.0, 1.1, 1.5, 2.0, 4.0, 8.0)
ALLOWED = 1.25
ONSET, AFTER, CLIMB = 2_048, 4_096, 1_024
SEEDS = range(10)
SESSION_REQUESTS = 8
RESIDENTS_PER_INSTANCE = 8
BLOCK, BLOCKS = 16, 6
ARRIVALS = ("step", "ramp", "sessions")


@dataclass(frozen=True)
class Case:
    """N instances, M holders, and the fluid imbalance after the onset."""

    instances: int
    holders: int
    imbalance: float
    arrivals: str

    @property
    def share(self) -> float:
        """The share x at which the flow to a holder is that many times the flow to another instance."""
        odds = self.imbalance * self.holders / (self.instances - self.holders)
        return odds / (1 + odds)

    def share_at(self, number: int) -> float:
        """The share that is drawn with at a request, counted from 0."""
        before, since = self.holders / self.instances / 2, number - ONSET
        if since < 0:
            return before
        climbed = min(1.0, since / CLIMB) if self.arrivals == "ramp" else 1.0
        return before + (self.share - before) * climbed

    @property
    def becomes_hot(self) -> int:
        """The request from which the imbalance is above what is allowed, if it ever is."""
        limit = Case(self.instances, self.holders, ALLOWED, self.arrivals).share
        return next((n for n in range(ONSET, ONSET + CLIMB + 1) if self.share_at(n) > limit), ONSET + AFTER)


def drawn_class(case: Case, number: int, rng: random.Random) -> int:
    """0 for the class, -1 for a request that shares nothing, else one of the others."""
    if rng.random() < case.share_at(number):
        return 0
    return -1 if rng.random() < 0.5 else 1 + rng.randrange(2 * (case.instances - case.holders))


def classes(case: Case, rng: random.Random) -> Iterator[tuple[int, int]]:
    """Class and session of every request."""
    if case.arrivals != "sessions":
        for number in range(ONSET + AFTER):
            yield drawn_class(case, number, rng), number
        return
    open_sessions = [(drawn_class(case, 0, rng), -i) for i in range(4 * case.instances)]
    for number in range(ONSET + AFTER):
        place = rng.randrange(len(open_sessions))
        yield open_sessions[place]
        if rng.random() < 1 / SESSION_REQUESTS:
            open_sessions[place] = drawn_class(case, number, rng), number + 1


def holders_of(case: Case, key: int) -> int:
    """Who holds a block: keys are ``class * 2^40 + place``, session blocks below 0 are held where the session is."""
    if key < 0:
        return 1 << (-key) % case.instances
    name = key >> 40
    return (1 << case.holders) - 1 if name == 0 else 1 << case.holders + (name - 1) // 2


def one_run(case: Case, seed: int) -> dict[str, Any]:
    """First alarm and first confirmation of the class, alarms that were none, and the copies asked for.

    An alarm is counted once for each class until 256 requests of no alarm have passed.
    """
    rng, monitor, active = random.Random(seed), Monitor(), tuple(range(case.instances))
    leaving: list[tuple[float, int]] = []
    hot_at, alarm, confirmed = case.becomes_hot, None, None
    spoken: dict[str, int] = {}
    false_before = false_other = asked = 0
    for number, (name, session) in enumerate(classes(case, rng)):
        while leaving and leaving[0][0] <= number:
            monitor.ended(heapq.heappop(leaving)[1])
        keys = tuple((name << 40) + place for place in range(BLOCKS)) if name >= 0 else ()
        keys += (-(2 + session % 2**30),)
        path = monitor.arrived(keys, BLOCK, BLOCK * len(keys) + BLOCK // 2)
        for traffic in monitor.suspects(path, lambda key: holders_of(case, key), active):
            news = number - spoken.get(traffic.name, -(10**9)) > 256
            spoken[traffic.name] = number
            own = traffic.prefix_tokens == BLOCK * BLOCKS and name == 0
            if own and number >= hot_at:
                alarm = number if alarm is None else alarm
                asked = max(asked, len(traffic.holders) + (traffic.copies_missing or 0))
                if confirmed is None and (traffic.streak or 0) >= 2 * case.holders:
                    confirmed = number
            elif news:
                false_before, false_other = false_before + own, false_other + (not own)
        monitor.decided(path, 0 if name == 0 else case.holders)
        monitor.dispatched(number, path)
        heapq.heappush(leaving, (number + rng.expovariate(1 / (RESIDENTS_PER_INSTANCE * case.instances)), number))
    return {
        "delay": None if alarm is None else alarm - hot_at + 1,
        "confirmed": None if confirmed is None else confirmed - hot_at + 1,
        "false_own": false_before,
        "false_other": false_other,
        "copies_over": asked / math.ceil(case.share * case.instances) if asked else None,
        "calm_requests": hot_at,
    }


def summary(case: Case, runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """One row of the table."""
    delays = sorted(run["delay"] for run in runs if run["delay"] is not None)
    confirmed = [run["confirmed"] for run in runs if run["confirmed"] is not None]
    copies = [round(run["copies_over"], 3) for run in runs if run["copies_over"] is not None]
    hot = case.imbalance > ALLOWED
    promise = alarm_promise(case.share, case.holders, case.instances) if hot and case.arrivals == "step" else None
    calm = sum(run["calm_requests"] for run in runs)
    everything = len(runs) * (ONSET + AFTER)
    return {
        "instances": case.instances,
        "holders": case.holders,
        "imbalance": case.imbalance,
        "arrivals": case.arrivals,
        "share": round(case.share, 4),
        "runs": len(runs),
        "missed": len(runs) - len(delays) if hot else None,
        "delay_requests": {
            "median": statistics.median(delays),
            "p90": delays[math.ceil(0.9 * len(delays)) - 1],
            "max": delays[-1],
        }
        if hot and delays
        else None,
        "confirmed_requests_median": statistics.median(confirmed) if hot and confirmed else None,
        "promised_requests_p99": promise.requests if promise else None,
        "most_copies_asked_over_needed_median": statistics.median(copies) if hot and copies else None,
        "false_alarms_of_the_class": sum(run["false_own"] for run in runs),
        "calm_requests": calm,
        "false_alarms_of_others": sum(run["false_other"] for run in runs),
        "requests": everything,
    }


def per_100k(rows: Sequence[dict[str, Any]], arrivals: Sequence[str]) -> dict[str, float]:
    """False alarms per 100,000 requests: of the class while it is covered or barely above, and of all others."""
    some = [row for row in rows if row["arrivals"] in arrivals]
    covered = [row for row in some if row["imbalance"] <= 1.0]
    barely = [row for row in some if 1.0 < row["imbalance"] <= ALLOWED]
    return {
        "the class, covered": 1e5 * _rate(covered, "false_alarms_of_the_class", "calm_requests"),
        "the class, at an imbalance of 1.1": 1e5 * _rate(barely, "false_alarms_of_the_class", "calm_requests"),
        "others": 1e5 * _rate(some, "false_alarms_of_others", "requests"),
    }


def _rate(rows: Sequence[dict[str, Any]], count: str, total: str) -> float:
    return float(sum(row[count] for row in rows) / sum(row[total] for row in rows))


def run() -> None:
    """Measure, print, save."""
    rows = []
    print(f"{'N':>3} {'M':>3} {'R':>5} {'arrivals':9} missed {'delay p50':>9} {'p90':>6} {'max':>6} promise")
    for arrivals in ARRIVALS:
        for instances, holders in SIZES:
            for imbalance in IMBALANCES:
                case = Case(instances, holders, imbalance, arrivals)
                row = summary(case, [one_run(case, seed) for seed in SEEDS])
                rows.append(row)
                if imbalance > ALLOWED:
                    delay = row["delay_requests"] or {"median": math.nan, "p90": math.nan, "max": math.nan}
                    print(
                        f"{instances:3} {holders:3} {imbalance:5} {arrivals:9} {row['missed']:3}/{row['runs']:2}"
                        f" {delay['median']:9.0f} {delay['p90']:6.0f} {delay['max']:6.0f}"
                        f" {row['promised_requests_p99'] or '-':>7}"
                    )
    false = {"independent": per_100k(rows, ("step", "ramp")), "sessions": per_100k(rows, ("sessions",))}
    for name, rates in false.items():
        print(f"false alarms per 100,000 requests, {name}: " + ", ".join(f"{k} {v:.2f}" for k, v in rates.items()))
    result = {
        "setting": {
            "onset": ONSET,
            "after": AFTER,
            "climb": CLIMB,
            "session_requests": SESSION_REQUESTS,
            "residents_per_instance": RESIDENTS_PER_INSTANCE,
            "imbalance_allowed": ALLOWED,
            "seeds": [SEEDS.start, SEEDS.stop - 1],
        },
        "rows": rows,
        "false_alarms_per_100k_requests": false,
        "machine": machine(),
        "date": dt.datetime.now(tz=dt.UTC).date().isoformat(),
        "command": "make bench BENCH_ARGS=detector_quality",
    }
    print(f"saved {save('detector_quality', result).name}")
