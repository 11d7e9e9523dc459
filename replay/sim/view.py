"""The router's side of the simulation: what it believes, fed at one information level, possibly late.

The columns a rule reads are those of :class:`scheduler.accounting.Accounting`, the prefix index and, only for rules
that ask, the blocks in use. Which engine events reach them is the whole difference between the levels.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from replay.sim.cluster import Cluster
from replay.sim.parts import Parts
from replay.sim.sequence import Sim, Sinks
from replay.sim.ticks import to_ticks
from scheduler.accounting import Accounting, Level
from scheduler.active_blocks import ActiveBlocks
from scheduler.policies.rule import Policy
from scheduler.state import Request


class RouterView:
    """Columns of the cluster as the router believes them; read by ``Chooser.choose``.

    Args:
        cluster: what is simulated.
        block_tokens: tokens in a block.
        policy: the rule; decides which optional columns are kept.
        parts: quick or plain.
        extra_needs: optional columns kept beside those, for rules that only watch.
    """

    def __init__(
        self,
        cluster: Cluster,
        block_tokens: int,
        policy: Policy,
        parts: Parts,
        extra_needs: frozenset[str] = frozenset(),
    ) -> None:
        count = len(cluster)
        needs = extra_needs.union(policy.needs)
        self._level, self._delay = cluster.level, to_ticks(cluster.delay_s)
        self._kv_tokens = cluster.kv_tokens
        self._block_tokens = block_tokens
        self._late: deque[tuple[int, Callable[..., None], tuple[Any, ...]]] = deque()
        self.accounting = Accounting(count)
        self.running = self.accounting.running
        self.waiting = self.accounting.waiting
        self.queued_prefill_tokens = self.accounting.queued_prefill_tokens
        self.context_tokens = self.accounting.context_tokens
        self.hit_tokens = [0] * count
        self.active_blocks: list[int] | None = None
        self.added_blocks: list[int] | None = None
        self.kv_used_fraction: list[float] | None = None
        self.prefill_s_per_token = [time.prefill_s_per_token for time in cluster.step_times]
        self.decode_s_per_request = [time.decode_s_per_request for time in cluster.step_times]
        self.base_s = [time.base_s for time in cluster.step_times]
        self.kv_s_per_token = [time.kv_s_per_token for time in cluster.step_times]
        self.attention_s_per_pair = [time.attention_s_per_pair for time in cluster.step_times]
        self._index: Any = None
        self._history: Any = None
        if cluster.level is Level.PROXY:
            self._history = parts.history(count, max(1, cluster.kv_tokens // block_tokens))
            self._index = self._history.index
        else:
            self._index = parts.index(count)
        self._active = ActiveBlocks(count) if {"active_blocks", "added_blocks"} & needs else None
        self._wants_kv_use = "kv_used_fraction" in needs
        self._wants_output = "expected_output_tokens" in needs
        #: ``true_context(at)``: set by the driver where a patched engine reports tokens of every step.
        self.true_context: Callable[[int], list[int]] | None = None
        #: The same for the share of KV blocks that requests hold.
        self.true_kv_use: Callable[[int], list[float]] | None = None

    def observe(self, request: Request, path: Any, at: int) -> float | None:
        """Bring all columns up to date for a request; returns its expected output length if the rule asks."""
        late = self._late
        while late and late[0][0] <= at:
            _, function, arguments = late.popleft()
            function(*arguments)
        self.hit_tokens = self._index.hit_tokens(path, request.block_tokens)
        if self.true_context is not None:
            self.context_tokens = self.true_context(at)
        if self.true_kv_use is not None:
            self.kv_used_fraction = self.true_kv_use(at)
        elif self._wants_kv_use:
            self.kv_used_fraction = [min(1.0, tokens / self._kv_tokens) for tokens in self.context_tokens]
        if self._active is not None:
            self.active_blocks = self._active.counts
            self.added_blocks = self._active.added(
                request.block_keys, -(-request.prompt_tokens // request.block_tokens)
            )
        if not self._wants_output:
            return None
        known = request.expected_output_tokens
        return self.accounting.expected_output_tokens() if known is None else known

    def dispatch(self, sim: Sim, instance: int) -> None:
        """Book a request on the chosen instance, at once."""
        request = sim.request
        hit = self.hit_tokens[instance]
        sim.predicted_hit = hit
        new = sim.prompt - hit
        self.accounting.dispatched(request.id, instance, new if new > 0 else 1, sim.prompt)
        if self._history is not None:
            self._history.record(instance, sim.path)
        if self._active is not None:
            self._active.add(instance, request.block_keys)

    def sinks(self) -> Sinks:
        """What the engines tell the router at this level."""
        events = self._level is not Level.PROXY
        steps = self._level is Level.PER_STEP
        tell = self._maybe_late
        return Sinks(
            first_token=tell(self._first_token),
            finished=tell(self._finished),
            admitted=tell(self._admitted) if steps else None,
            progressed=tell(self._progressed) if steps else None,
            preempted=tell(self._preempted) if steps else None,
            stored=tell(self._stored) if events else None,
            removed=tell(self._removed) if events else None,
        )

    def _maybe_late(self, function: Callable[..., None]) -> Callable[..., None]:
        if not self._delay:
            return function
        late, delay = self._late, self._delay

        def later(*arguments: Any) -> None:
            late.append((arguments[-1] + delay, function, arguments))

        return later

    def _first_token(self, _i: int, sim: Sim, t: int) -> None:
        # A request that was preempted completes a prefill in each admission; a proxy sees only the very first token.
        if sim.first_at == t or self._level is Level.PER_STEP:
            self.accounting.first_token(sim.request.id)

    def _finished(self, i: int, sim: Sim, _t: int) -> None:
        self.accounting.ended(sim.request.id, sim.output)
        if self._active is not None:
            self._active.remove(i, sim.request.block_keys)

    def _admitted(self, _i: int, sim: Sim, tokens: int, _t: int) -> None:
        self.accounting.corrected(sim.request.id, tokens)

    def _progressed(self, _i: int, sim: Sim, tokens: int, _t: int) -> None:
        self.accounting.progressed(sim.request.id, tokens)

    def _preempted(self, _i: int, sim: Sim, tokens: int, _t: int) -> None:
        self.accounting.preempted(sim.request.id, tokens)

    def _stored(self, i: int, path: Any, start: int, stop: int, _t: int) -> None:
        self._index.add(i, path, start, stop)

    def _removed(self, i: int, evicted: Any, _t: int) -> None:
        self._index.remove(i, evicted)
