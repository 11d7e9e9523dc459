"""The divergence census: at every decision of one run of the product, which weighted lines would have chosen alike?

A line ``P + w B`` takes the product's instance exactly for the weights w of the agreement interval (claim
``agreement_interval``). A :class:`Witness` stands beside a run, writes down what the router saw, and reduces it by the
same closed forms that the proofs speak of, all decisions at once. Numbers are floats here: each end is one quotient of
whole numbers, correctly rounded, so a weight is judged wrongly only if it lies within one rounding of an end.

The published line uses other indicators and a scale of its own at each decision; it is asked as the rule that it is.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from replay.disagreement import Onlooker
from replay.sim.cluster import Cluster
from replay.sim.parts import Prepared
from replay.sim.record import RunRecord
from replay.sim.run import simulate
from replay.sim.sequence import Sim
from replay.sim.view import RouterView
from scheduler import formulas
from scheduler.indicators import batch_size, new_prefill_tokens, p_token
from scheduler.ops import ARRAY
from scheduler.policies.catalogue import policy
from scheduler.state import Request

#: The rule whose run is looked at.
RULE = "lmetric"
#: The published line at its two published weights.
PUBLISHED = ("linear:weight=0.7", "linear:weight=0.55")
#: Decisions that are reduced together; bounds the memory, changes nothing else.
CHUNK = 4096

#: Floats or whole numbers, one a decision.
Column = Any


@dataclass(frozen=True, slots=True)
class Decisions:
    """What is known of every decision of a run; one entry a decision, in order.

    Args:
        at: tick of the decision.
        request_id: of the request decided on.
        chosen: index of the instance that the product took.
        p_token: P of it [token].
        batch: B of it [request].
        low, high: a line takes it, too, exactly for ``low <= w <= high`` [token/request].
        margin: least other product over its own, less 1; nan if there is one instance only.
        tied: instances with the least product, >= 1.
        twin: another instance with the same P and B as the chosen one, the first such; -1 if it has none.
        other: fork weight -> instance that the line takes first; it is ``chosen`` where the line is content with it.
        predicted_s: fork weight -> delay that the line's choice adds over the product's: difference of
            ``tau (q + n B)``, both at their own tau [s].
        predicted_offset_s: the same with decode counted, ``tau (q + (n + kappa) B)`` [s].
        published: published line -> decisions at which it would not have been content with the product's instance.
    """

    at: Column
    request_id: Column
    chosen: Column
    p_token: Column
    batch: Column
    low: Column
    high: Column
    margin: Column
    tied: Column
    twin: Column
    other: dict[float, Column]
    predicted_s: dict[float, Column]
    predicted_offset_s: dict[float, Column]
    published: dict[str, int]

    def __len__(self) -> int:
        return len(self.at)

    @property
    def implied_rate(self) -> Column:
        """The weight of the line on which the choice is best, ``P_k/B_k`` [token/request]."""
        return formulas.tuned_rate(self.p_token, self.batch)

    def differs(self, weight: float) -> Column:
        """Where a line of a weight would take another instance, however it breaks ties.

        Args:
            weight: w [token/request].
        """
        return (weight < self.low) | (weight > self.high)


@dataclass(slots=True)
class Witness:
    """An observer of one run of the product: pass it to :func:`replay.sim.run.simulate`.

    Args:
        cluster: what is simulated.
        request_count: requests of the run.
        fork_weights: lines whose choices are written down, to be tried in forks [token/request].
    """

    cluster: Cluster
    request_count: int
    fork_weights: Sequence[float] = ()
    _rows: array[int] = field(init=False, default_factory=lambda: array("q"))
    _heads: list[tuple[int, int, int, int]] = field(init=False, default_factory=list)
    _expected: list[float] = field(init=False, default_factory=list)
    _done: list[dict[Any, Column]] = field(init=False, default_factory=list)
    _published: Onlooker = field(init=False)

    def __post_init__(self) -> None:
        lines = [policy(text) for text in PUBLISHED]
        self._published = Onlooker(lines, self.request_count, samples_max=max(1, self.request_count))

    def __call__(self, sim: Sim, view: RouterView, chosen: int, at: int) -> None:
        """Write one decision down."""
        request = sim.request
        expected = request.expected_output_tokens
        if expected is None:
            expected = view.accounting.expected_output_tokens()
        for column in (view.queued_prefill_tokens, view.hit_tokens, view.running, view.waiting):
            self._rows.extend(column)
        self._heads.append((at, request.id, chosen, request.prompt_tokens))
        self._expected.append(expected)
        self._published(sim, view, chosen, at)
        if len(self._heads) == CHUNK:
            self._reduce()

    def decisions(self) -> Decisions:
        """All that was seen so far."""
        if self._heads or not self._done:
            self._reduce()
        columns: dict[Any, Column] = {
            name: np.concatenate([part[name] for part in self._done]) for name in self._done[0]
        }
        by_weight = {name: {w: columns.pop((name, w)) for w in self.fork_weights} for name in _BY_WEIGHT}
        counts = self._published.result(RULE, 0).differing
        published = {text: counts[policy(text).label] or 0 for text in PUBLISHED}
        return Decisions(**columns, **by_weight, published=published)

    @property
    def needs(self) -> frozenset[str]:
        """Optional columns that it reads; the run must keep them."""
        return self._published.needs

    def _reduce(self) -> None:
        """From what the router saw to what is kept."""
        count = len(self.cluster)
        seen = np.frombuffer(self._rows, dtype=np.int64).reshape(len(self._heads), 4, count)
        queued, hits, running, waiting = (seen[:, i, :] for i in range(4))
        heads = np.array(self._heads, dtype=np.int64).reshape(-1, 4)
        at, ids, chosen, prompts = (heads[:, i] for i in range(4))
        expected = np.array(self._expected, dtype=float)
        new = new_prefill_tokens(ARRAY, prompts[:, None], hits)
        tokens, batch = p_token(queued, new), batch_size(running, waiting)
        part: dict[Any, Column] = {"at": at, "request_id": ids, "chosen": chosen, **_intervals(tokens, batch, chosen)}
        plain, offset = self._delays_s(queued, new, batch, expected)
        for weight in self.fork_weights:
            first = np.argmin(formulas.line(tokens, batch, weight), axis=1)
            content = (part["low"] <= weight) & (weight <= part["high"])
            other = np.where(content, chosen, first)
            part["other", weight] = other
            part["predicted_s", weight] = _at(plain, other) - _at(plain, chosen)
            part["predicted_offset_s", weight] = _at(offset, other) - _at(offset, chosen)
        self._done.append(part)
        self._rows, self._heads, self._expected = array("q"), [], []

    def _delays_s(self, queued: Column, new: Column, batch: Column, expected: Column) -> tuple[Column, Column]:
        """Delay that the request adds on each instance, without and with decode [s]."""
        tau = np.array([time.prefill_s_per_token for time in self.cluster.step_times])
        gamma = np.array([time.decode_s_per_request for time in self.cluster.step_times])
        overlap = policy("marginal_delay_offset").knobs.overlap
        kappa = formulas.kappa(tau, gamma, expected[:, None], overlap)
        plain = formulas.marginal_delay(queued, new, batch)
        return tau * plain, tau * formulas.marginal_delay(queued, new, batch, kappa)


_BY_WEIGHT = ("other", "predicted_s", "predicted_offset_s")


def _at(table: Column, index: Column) -> Column:
    """The entry of one instance at each decision."""
    return table[np.arange(len(table)), index]


def _intervals(tokens: Column, batch: Column, chosen: Column) -> dict[str, Column]:
    """Interval, margin and ties at each decision, from the indicators of all instances."""
    mine = (_at(tokens, chosen), _at(batch, chosen))
    pairs = [(tokens[:, j], batch[:, j]) for j in range(tokens.shape[1])]  # itself among them: it sets no end
    products = tokens * batch
    least = _at(products, chosen)
    assert (least == products.min(axis=1)).all(), "the run was not one of the product"
    others = products.astype(float)
    others[np.arange(len(others)), chosen] = np.inf
    margin = others.min(axis=1) / least - 1
    twins = (tokens == mine[0][:, None]) & (batch == mine[1][:, None])
    twins[np.arange(len(twins)), chosen] = False
    return {
        "p_token": mine[0],
        "batch": mine[1],
        "low": np.broadcast_to(np.asarray(formulas.agreement_low(ARRAY, mine, pairs), dtype=float), least.shape),
        "high": np.broadcast_to(formulas.agreement_high(ARRAY, mine, pairs, np.inf), least.shape),
        "margin": np.where(np.isinf(margin), np.nan, margin),
        "tied": (products == least[:, None]).sum(axis=1),
        "twin": np.where(twins.any(axis=1), twins.argmax(axis=1), -1),
    }


def watch(
    requests: Sequence[Request] | Prepared,
    cluster: Cluster,
    *,
    fork_weights: Sequence[float] = (),
    **options: Any,
) -> tuple[RunRecord, Decisions]:
    """Simulate the product and write down every decision.

    Args:
        requests, cluster: see :func:`replay.sim.run.simulate`.
        fork_weights: see :class:`Witness`.
        options: further arguments of ``simulate``.

    Returns:
        The same record as without a witness, and the decisions.

    Example:
        >>> from replay.sim.cluster import roofline_cluster
        >>> one = [Request(id=0, arrival_s=0.0, prompt_tokens=100, output_tokens=9)]
        >>> _, found = watch(one, roofline_cluster(2))
        >>> float(found.low[0]), float(found.high[0]), float(found.implied_rate[0]), int(found.tied[0])
        (0.0, inf, 100.0, 2)

    Source: claims ``agreement_interval``, ``product_choice_is_a_tuned_line``.
    """
    count = len(requests.requests if isinstance(requests, Prepared) else requests)
    witness = Witness(cluster, count, fork_weights)
    record = simulate(requests, policy(RULE), cluster, observer=witness, extra_needs=witness.needs, **options)
    return record, witness.decisions()
