"""The values that flow through routing: Request, ClusterState, Decision, Outcome. All frozen.

A :class:`ClusterState` is a struct of arrays: one tuple a quantity, one entry an instance. Tuples and not NumPy arrays,
because a cluster has tens of instances: at that size building and reading Python tuples is several times quicker, they
are immutable, and the array world converts them where it needs to.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Any

import msgspec

from scheduler.domains import INSTANCE_DOMAINS, REQUEST_DOMAINS, TIME_DOMAIN, TOKENS_MAX
from scheduler.errors import BadInput

_BLOCK_MAX = REQUEST_DOMAINS["block_tokens"].high or 0
_TIME_MAX = TIME_DOMAIN.high or 0
#: Fields of ClusterState that every state must give.
REQUIRED_COLUMNS = ("running", "waiting", "queued_prefill_tokens", "hit_tokens")
#: Fields that may be None; a rule or a finding that needs one says so.
OPTIONAL_COLUMNS = tuple(name for name in INSTANCE_DOMAINS if name not in REQUIRED_COLUMNS)


class Request(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One request as the router sees it, and as a trace tells it.

    Args:
        id: unique within a run, >= 0; it is also the arrival number that breaks ties.
        arrival_s: time of arrival from the start of the run [s].
        prompt_tokens: prompt length L, >= 1 [token].
        output_tokens: tokens the engine will produce, >= 1 [token]; a router must not look at it.
        block_keys: one key for each KV block of the prompt, in order; equal keys mean an equal prefix up to and with
            that block, so the key of a block names its whole chain. The last block may be partial.
        block_tokens: tokens in a block [token].
        expected_output_tokens: what the router may believe of the output length, or None [token].
        session: the conversation it belongs to, or None.
        after: the id of the request whose reply must come first (closed loop), or None.
        think_s: pause between that reply and this request [s].
        group: the workload class it was drawn from, for reports.
    """

    id: int
    arrival_s: float
    prompt_tokens: int
    output_tokens: int = 1
    block_keys: tuple[int, ...] = ()
    block_tokens: int = 512
    expected_output_tokens: float | None = None
    session: int | None = None
    after: int | None = None
    think_s: float = 0.0
    group: str = ""


class ClusterState(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What the router knows of every instance when it decides on one request.

    Args:
        ids: name of each instance, unique.
        running, waiting: requests decoding; requests assigned whose prefill is not known to be done [request].
        queued_prefill_tokens: uncached prefill tokens assigned and not yet computed [token].
        hit_tokens: contiguous cached prefix of the request at hand [token].
        now_s: time of the decision [s].
        context_tokens, kv_used_fraction, active_blocks, added_blocks, prefill_s_per_token, decode_s_per_request,
        base_s, kv_s_per_token, attention_s_per_pair, updated_s: optional columns, see
            :class:`scheduler.indicators.Indicators`; ``updated_s`` is when the numbers of the instance were last
            refreshed [s].

    Example:
        >>> state = ClusterState(ids=("a", "b"), running=(0, 3), waiting=(0, 0), queued_prefill_tokens=(0, 0),
        ...                      hit_tokens=(0, 128)).checked()
        >>> len(state)
        2
    """

    ids: tuple[str, ...]
    running: tuple[int, ...]
    waiting: tuple[int, ...]
    queued_prefill_tokens: tuple[int, ...]
    hit_tokens: tuple[int, ...]
    now_s: float = 0.0
    context_tokens: tuple[int, ...] | None = None
    kv_used_fraction: tuple[float, ...] | None = None
    active_blocks: tuple[int, ...] | None = None
    added_blocks: tuple[int, ...] | None = None
    prefill_s_per_token: tuple[float, ...] | None = None
    decode_s_per_request: tuple[float, ...] | None = None
    base_s: tuple[float, ...] | None = None
    kv_s_per_token: tuple[float, ...] | None = None
    attention_s_per_pair: tuple[float, ...] | None = None
    updated_s: tuple[float, ...] | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def checked(self) -> ClusterState:
        """Return the state itself if every value lies in its domain, with NumPy numbers made Python numbers.

        Raises:
            BadInput: naming the field with its index, the value and the domain.
        """
        if not isinstance(self.ids, tuple):
            raise BadInput("ids", self.ids, "a tuple of texts, one an instance")
        count = len(self.ids)
        if not count:
            raise BadInput("instances", 0, "at least one instance")
        seen: dict[str, int] = {}
        changed: dict[str, tuple[Any, ...]] = {}
        for index, name in enumerate(self.ids):
            if not isinstance(name, str):
                raise BadInput(f"instances[{index}].id", name, "a text")
            if name in seen:
                raise BadInput(f"instances[{index}].id", name, "an id no other instance has")
            seen[name] = index
        TIME_DOMAIN.check("now_s", self.now_s)
        for name, domain in INSTANCE_DOMAINS.items():
            column = getattr(self, name)
            if column is None:
                if name in REQUIRED_COLUMNS:
                    raise BadInput(name, None, "a value for every instance")
                continue
            if not isinstance(column, tuple):
                raise BadInput(name, column, f"a tuple of {count} values, one an instance")
            if len(column) != count:
                raise BadInput(name, len(column), f"{count} values, one an instance")
            plain = tuple([domain.check(f"instances[{index}].{name}", value) for index, value in enumerate(column)])
            if any(new is not old for new, old in zip(plain, column, strict=True)):
                changed[name] = plain
        return msgspec.structs.replace(self, **changed) if changed else self


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """What a rule chose and how close it was.

    Args:
        instance: index of the chosen instance.
        id: name of the chosen instance.
        scores: the key of every instance: one number or a tuple compared in order. For rules that sample, the weights.
        eligible: whether each instance passed the rule's filters.
        ties: indices that share the best key, in order; the pick was made among them.
        margin: best other score divided by the chosen score, less 1; None if there is no other eligible instance, if
            keys are tuples, if the chosen score is not positive, or if the rule samples (scores are weights, the choice
            is drawn). 0 means a tie. If no instance passed the filters, all are candidates here too.
    """

    instance: int
    id: str
    scores: tuple[Any, ...]
    eligible: tuple[bool, ...]
    ties: tuple[int, ...]
    margin: float | None = None


class End(enum.Enum):
    """How a request ended; each request ends in exactly one of these."""

    FINISHED = "finished"
    REJECTED = "rejected"
    FAILED = "failed"


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one request. A time that does not exist is None, never 0.

    Args:
        id: of the request.
        end: how it ended.
        instance: index of the instance it ran on, or None if it never reached one.
        arrival_s, first_token_s, last_token_s: times from the start of the run [s].
        prompt_tokens, output_tokens: lengths; output as far as it was produced [token].
        cached_tokens: prompt tokens the engine took from its cache [token].
        predicted_hit_tokens: what the router believed when it decided [token].
        preemptions: how often it was pushed out and recomputed.
        reason: why it was rejected or failed, or empty.
    """

    id: int
    end: End
    instance: int | None
    arrival_s: float
    first_token_s: float | None
    last_token_s: float | None
    prompt_tokens: int
    output_tokens: int
    cached_tokens: int
    predicted_hit_tokens: int
    preemptions: int = 0
    reason: str = ""

    @property
    def ttft_s(self) -> float | None:
        """Time to first token: from arrival to first token [s]."""
        return None if self.first_token_s is None else self.first_token_s - self.arrival_s

    @property
    def tpot_s(self) -> float | None:
        """Time per output token after the first [s]; None with fewer than two tokens."""
        if self.first_token_s is None or self.last_token_s is None or self.output_tokens < 2:
            return None
        return (self.last_token_s - self.first_token_s) / (self.output_tokens - 1)

    @property
    def e2e_s(self) -> float | None:
        """From arrival to last token [s]; None unless finished."""
        if self.end is not End.FINISHED or self.last_token_s is None:
            return None
        return self.last_token_s - self.arrival_s


def checked_request(request: Request) -> Request:
    """Return the request itself if its numbers lie in their domains.

    Raises:
        BadInput: naming the field, the value and the domain.
    """
    if _plainly_good(request):
        return request
    values: Mapping[str, Any] = {
        "prompt_tokens": request.prompt_tokens,
        "block_tokens": request.block_tokens,
    }
    for name, value in values.items():
        REQUEST_DOMAINS[name].check(f"request.{name}", value)
    if request.expected_output_tokens is not None:
        REQUEST_DOMAINS["expected_output_tokens"].check(
            "request.expected_output_tokens", request.expected_output_tokens
        )
    REQUEST_DOMAINS["prompt_tokens"].check("request.output_tokens", request.output_tokens)
    TIME_DOMAIN.check("request.arrival_s", request.arrival_s)
    allowed = -(-request.prompt_tokens // request.block_tokens)
    if len(request.block_keys) > allowed:
        raise BadInput(
            "request.block_keys",
            len(request.block_keys),
            f"at most {allowed} blocks of {request.block_tokens} tokens for {request.prompt_tokens} prompt tokens",
        )
    return request


def _plainly_good(request: Request) -> bool:
    """Most requests are, and a router asks at every decision; what is not plainly good is looked at one by one."""
    length, block = request.prompt_tokens, request.block_tokens
    return (
        type(length) is int
        and type(block) is int
        and 0 < block <= _BLOCK_MAX
        and 0 < length <= TOKENS_MAX
        and type(request.output_tokens) is int
        and 0 < request.output_tokens <= TOKENS_MAX
        and request.expected_output_tokens is None
        and type(request.arrival_s) is float
        and 0.0 <= request.arrival_s <= _TIME_MAX
        and (len(request.block_keys) - 1) * block < length
    )


def checked_hits(state: ClusterState, request: Request) -> None:
    """Check that no instance is said to hold more of the prompt than there is.

    Raises:
        BadInput: naming the instance, the value and the length of the prompt.
    """
    for index, hit in enumerate(state.hit_tokens):
        if hit > request.prompt_tokens:
            expected = f"at most the {request.prompt_tokens} tokens of the prompt"
            raise BadInput(f"instances[{index}].hit_tokens", hit, expected)
