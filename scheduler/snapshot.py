"""A router as bytes: a line that says what they are, of which version and with which checksum, then one JSON object.

JSON, because bitmasks and block keys may have more than 64 bits. The line lets damage be told from a mistake: what was
cut, flipped or written by somebody else is refused as a whole, and nothing of it is believed.
"""

from __future__ import annotations

import random
from collections.abc import Hashable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import msgspec
from xxhash import xxh3_128_hexdigest

from scheduler.accounting_state import AccountingState
from scheduler.cost import StepTime
from scheduler.errors import BadInput
from scheduler.guard import Guard, GuardState
from scheduler.index_state import PrefixIndexState
from scheduler.ledger import Ledger, LedgerState
from scheduler.policies.catalogue import CATALOGUE
from scheduler.policies.choosing import Chooser
from scheduler.routed import Routed
from scheduler.routed_state import again, plain
from scheduler.router_config import RouterConfig

_FORMAT = 1
_TITLE = b"argprod router "
_FROM = "bytes that Router.snapshot gave"


class RouterState(msgspec.Struct, frozen=True, kw_only=True):
    """All that decides what a router does next.

    Args:
        rule, values: name of the rule, and its knobs.
        mitigation: what may be done about findings.
        config: settings.
        step_time, step_times: engine times, of all instances alike or by id.
        rng: state of the source of draws.
        memory: of the rule; null if it has none, or one that has no plain form and starts anew.
        ledger, guard: what they know.
        open: own requests in flight, with the decisions.
        ignored: events counted and ignored by the router itself.
        now_s: the latest time [s].
    """

    rule: str
    values: dict[str, Any]
    mitigation: str
    config: RouterConfig
    step_time: StepTime | None
    step_times: dict[str, StepTime] | None
    rng: tuple[int, tuple[int, ...], float | None]
    memory: msgspec.Raw
    ledger: LedgerState
    guard: GuardState
    open: list[tuple[int | str, Routed]]
    ignored: int
    now_s: float

    def settings(self) -> dict[str, Any]:
        """What a router is made from, but for its clock and its log.

        Raises:
            BadInput: for a rule or a knob that this version does not have.
        """
        if self.rule not in CATALOGUE:
            raise BadInput("rule", self.rule, "a rule of the catalogue", "another version took the snapshot")
        return {
            "instances": [name for name in self.ledger.names if name],
            "policy": CATALOGUE[self.rule].with_knobs(self.values),
            "ties": None,
            "mitigation": self.mitigation,
            "config": self.config,
            "step_times": self.step_time if self.step_times is None else self.step_times,
        }

    def go_on(self, ledger: Ledger, guard: Guard, chooser: Chooser) -> tuple[Guard, Chooser, dict[Hashable, Routed]]:
        """Let the parts of a new router, made from :meth:`settings`, go on from here.

        Args:
            ledger: is changed.
            guard, chooser: are replaced.

        Returns:
            The guard, the chooser, and own requests in flight with the decisions as they were handed out.

        Raises:
            BadInput: if no router looks like this.
        """
        guard = Guard.restore(guard.mode, guard.config, max(1, len(self.ledger.names)), self.guard)
        ledger.go_on(self.ledger, guard)
        rng = random.Random()
        rng.setstate(self.rng)
        chooser = Chooser(chooser.policy, max(1, len(ledger.slots.ids)), rng)
        if bytes(self.memory) != b"null":
            chooser.memory = msgspec.json.decode(self.memory, type=type(chooser.memory))
        return guard, chooser, {name: again(routed) for name, routed in self.open}


def state_of(
    config: RouterConfig,
    ledger: Ledger,
    guard: Guard,
    chooser: Chooser,
    decisions: Mapping[Hashable, Routed],
    ignored: int,
    now_s: float,
) -> RouterState:
    """The state of a router made of these parts, with values that do not change with them.

    Args:
        config: its settings.
        ledger, guard, chooser: its parts.
        decisions: own requests in flight, with the decisions.
        ignored: events counted and ignored by the router itself.
        now_s: the latest time [s].

    Raises:
        BadInput: for a request in flight whose id is neither a number nor a text, or a rule that is not in the
            catalogue, where its name would not find it again.
    """
    rule, times, saved = chooser.policy.rule, ledger.view.step_times, ledger.save()
    if CATALOGUE.get(rule.name) is not rule:
        raise BadInput("policy", rule.name, "a rule of the catalogue, so that the router can be restored")
    for name, _ in saved.accounting.open:
        if type(name) not in (int, str):
            raise BadInput("request_id", name, "a number or a text, so that the router can be restored")
    with _as_json():
        saved_guard, memory = guard.save(), _plain_memory(chooser.memory)
    return RouterState(
        rule=rule.name,
        values=dict(chooser.policy.values),
        mitigation=guard.mode.value,
        config=config,
        step_time=times if isinstance(times, StepTime) else None,
        step_times=None if times is None or isinstance(times, StepTime) else dict(times),
        rng=chooser.rng.getstate(),
        memory=memory,
        ledger=saved,
        guard=saved_guard,
        open=list(decisions.items()),  # type: ignore[arg-type]
        ignored=ignored,
        now_s=now_s,
    )


def as_bytes(state: RouterState) -> bytes:
    """The state as bytes, for :func:`from_bytes`.

    Raises:
        BadInput: if something in it has no plain form, as a key that is no number, or a name that is no Unicode.
    """
    for keys in _keys(state.ledger):
        if not set(map(type, keys)) <= {int}:
            raise BadInput("block_keys", keys[0], "integers in all places, so that the router can be restored")
    with _as_json():
        plain_state = msgspec.structs.replace(
            state,
            config=_settled(state.config, RouterConfig),
            step_time=_settled(state.step_time, StepTime | None),
            step_times=_settled(state.step_times, dict[str, StepTime] | None),
            ledger=msgspec.structs.replace(state.ledger, accounting=_in_order(state.ledger.accounting)),
            open=[(name, plain(routed)) for name, routed in state.open],
        )
        body = msgspec.json.encode(plain_state)
    return b"%s%d %s\n" % (_TITLE, _FORMAT, xxh3_128_hexdigest(body).encode()) + body


def from_bytes(data: bytes) -> RouterState:
    """The state again.

    Raises:
        BadInput: if the bytes are not from :func:`as_bytes`, were damaged, or are of another version.
    """
    if not isinstance(data, bytes | bytearray | memoryview):
        raise BadInput("data", data, _FROM)
    title, _, body = bytes(data).partition(b"\n")
    told = title.removeprefix(_TITLE).split(b" ")
    if not title.startswith(_TITLE) or len(told) != 2:
        raise BadInput("data", title[:40], _FROM, "they begin otherwise")
    if told[0] != b"%d" % _FORMAT:
        raise BadInput("data", told[0], f"version {_FORMAT}", "they were written by another version")
    if told[1] != xxh3_128_hexdigest(body).encode():
        raise BadInput("data", f"{len(body)} bytes of another checksum", _FROM, "they are damaged")
    with only_bad_input():
        return msgspec.json.decode(body, type=RouterState)


@contextmanager
def only_bad_input() -> Iterator[None]:
    """Whatever goes wrong with a state that somebody else made up, with the right checksum: it is a bad input."""
    try:
        yield
    except (LookupError, TypeError, ValueError, ArithmeticError, AssertionError, RecursionError) as fault:
        raise BadInput("data", type(fault).__name__, _FROM, str(fault)) from None


@contextmanager
def _as_json() -> Iterator[None]:
    """What has no form in JSON is the fault of who gave it to the router."""
    try:
        yield
    except (TypeError, ValueError, ArithmeticError) as fault:
        raise BadInput("router", str(fault), "ids, keys and values that can be written as JSON") from None


def _plain_memory(memory: Any) -> msgspec.Raw:
    """The memory of a rule as JSON; null if there is none, or if it would not come back as it is."""
    try:
        settled = _settled(memory, type(memory))
    except (TypeError, ValueError):
        settled = None
    return msgspec.Raw(msgspec.json.encode(settled if settled == memory else None))


def _in_order(accounting: AccountingState) -> AccountingState:
    """What is remembered of requests that are over, in an order that does not hang on hashes.

    Only ids of requests in flight must be numbers or texts: others are no longer remembered once they are over.
    """
    ended, computed = (
        (_sorted_ids(older), _sorted_ids(newer)) for older, newer in (accounting.ended, accounting.computed)
    )
    return msgspec.structs.replace(accounting, ended=ended, computed=computed)


def _sorted_ids(names: Iterable[Any]) -> list[Any]:
    told = list(names)
    numbers: list[Any] = sorted(name for name in told if type(name) is int)
    return numbers + sorted(name for name in told if type(name) is str)


def _keys(ledger: LedgerState) -> Iterator[list[Any]]:
    """All keys of blocks, in pieces none of which is empty."""
    indices: list[PrefixIndexState | None] = [ledger.index, ledger.active]
    if ledger.history is not None:
        indices.append(ledger.history.index)
        for touches in ledger.history.recency:
            yield from (touch.keys for touch in touches)
    for index in indices:
        if index is not None:
            yield from (run.keys for run in index.runs)
            for chains in index.orphans:
                yield from (chain.keys for chain in chains)


def _settled(value: Any, kind: Any) -> Any:
    """The value as it comes back: whole numbers where they stand for real ones become real."""
    return msgspec.json.decode(msgspec.json.encode(value), type=kind)
