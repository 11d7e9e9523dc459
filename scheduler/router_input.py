"""What a router takes from its callers: names, numbers, times, keys, requests, its rule; checked at the border.

Events come from engines and proxies, so anything may stand where a number should. What is no number at all, or larger
than any, is the caller's fault and an error; what is a number but cannot be (a negative one, an unknown name) is left
to :class:`scheduler.accounting.Accounting`, which counts and ignores it. The usual types take the short way.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from random import Random
from typing import Any

from scheduler.cost import StepTime
from scheduler.domains import TIME_DOMAIN, TOKENS_MAX, Domain
from scheduler.errors import BadInput
from scheduler.policies.catalogue import policy as read_policy
from scheduler.policies.rule import Policy
from scheduler.router_config import RouterConfig
from scheduler.state import Request, checked_request

_TOKENS = Domain(0, TOKENS_MAX, integer=True, unit="token")
_LATEST_S = TIME_DOMAIN.high or 0.0
_INT = {int}
_NAMES = {int, str}


def checked_name(request_id: Any) -> Hashable:
    """A name that events can call a request by.

    Raises:
        BadInput: if it cannot be looked up, does not equal itself, or is a float that is no number or infinite.

    Example:
        >>> checked_name("7f3a")
        '7f3a'
    """
    if type(request_id) in _NAMES:
        return request_id  # type: ignore[no-any-return]
    try:
        hash(request_id)
        found = bool(request_id == request_id)
    except Exception:  # noqa: BLE001 - whatever somebody else's comparison raises
        found = False
    if not found or (isinstance(request_id, float) and not math.isfinite(request_id)):
        raise BadInput(
            "request_id", request_id, "a text, a finite number, or another hashable value that equals itself"
        )
    return request_id  # type: ignore[no-any-return]


def told_tokens(field: str, value: Any) -> int:
    """A number of tokens that an event tells; negative ones pass, to be counted and ignored [token].

    Raises:
        BadInput: if it is no whole number, or larger than any.

    Example:
        >>> told_tokens("tokens", 17), told_tokens("tokens", -1)
        (17, -1)
    """
    if type(value) is int and value <= TOKENS_MAX:
        return value
    return int(_TOKENS.check(field, value))


def told_time(value: Any) -> float:
    """A time that a call tells; how early it is does not matter, for time never runs backwards [s].

    Raises:
        BadInput: if it is no number, or later than any time can be.

    Example:
        >>> told_time(12.5), told_time(-1)
        (12.5, -1)
    """
    if type(value) in (float, int) and value <= _LATEST_S:
        return value  # type: ignore[no-any-return]
    return float(TIME_DOMAIN.check("now_s", value, "of a clock that starts near 0, not the time of day"))


def checked_keys(field: str, keys: Any) -> Sequence[int]:
    """Keys of blocks, every one a whole number.

    Raises:
        BadInput: naming the first that is none.

    Example:
        >>> checked_keys("stored", [7, 8])
        [7, 8]
    """
    if not isinstance(keys, tuple | list):
        raise BadInput(field, keys, "a tuple of keys")
    if not set(map(type, keys)) <= _INT:
        place, key = next((place, key) for place, key in enumerate(keys) if type(key) is not int)
        raise BadInput(f"{field}[{place}]", key, "an integer")
    return keys


def checked_key(field: str, key: Any) -> None:
    """One key of a block, or None.

    Raises:
        BadInput: if it is neither.

    Example:
        >>> checked_key("after", 7)
    """
    if key is not None and type(key) is not int:
        raise BadInput(field, key, "an integer or None")


def settled_policy(policy: Any, ties: Any) -> Policy:
    """The policy with the tie rule that was asked for, if it has one.

    Args:
        policy: ``NAME[:knob=value,...]`` or a :class:`Policy`.
        ties: ``random``, ``first``, or None for what the policy says; a text that says it itself is not overruled.

    Raises:
        BadInput: for an unknown name, with the nearest ones.

    Example:
        >>> settled_policy("lmetric", "random").label
        'lmetric:ties=random'
    """
    if not isinstance(policy, str | Policy):
        raise BadInput("policy", policy, "a text NAME[:knob=value,...] or a Policy")
    found = read_policy(policy) if isinstance(policy, str) else policy
    if ties is not None and not (isinstance(ties, str) and ties in ("random", "first")):
        raise BadInput("ties", ties, "random, first or None")
    said = isinstance(policy, str) and "ties=" in policy
    if ties is None or said or "ties" not in found.values:
        return found
    return found.rule.with_knobs({**found.values, "ties": ties})


def settled_config(config: Any) -> RouterConfig:
    """The settings of a router, or the default ones.

    Raises:
        BadInput: naming the field, the value and the domain.

    Example:
        >>> settled_config(None).source
        'history'
    """
    if config is None:
        return RouterConfig()
    if not isinstance(config, RouterConfig):
        raise BadInput("config", config, "a RouterConfig or None")
    return config.checked()


def checked_parts(step_times: Any, clock: Any, log_sink: Any) -> None:
    """What a router is given to know engine times and the time, and to tell decisions.

    Raises:
        BadInput: naming the argument.

    Example:
        >>> checked_parts(None, float, None)
    """
    times = step_times if isinstance(step_times, Mapping) else {} if step_times is None else {"": step_times}
    for name, value in times.items():
        if not isinstance(value, StepTime):
            raise BadInput(f"step_times[{name!r}]" if name else "step_times", value, "a StepTime")
    for argument, called in (("clock", clock), ("log_sink", log_sink)):
        if not callable(called) and not (argument == "log_sink" and called is None):
            raise BadInput(argument, called, "something to call")


def seeded(seed: Any) -> Random:
    """The source of all draws of a router.

    Raises:
        BadInput: if the seed is no whole number.

    Example:
        >>> seeded(1).random() == seeded(1).random()
        True
    """
    if type(seed) is not int:
        raise BadInput("seed", seed, "an integer")
    return Random(seed)


_KEY_TYPES = frozenset((int, bytes))


def routable_request(request: Any, every_key: bool = False) -> Request:
    """A request that can be routed.

    Args:
        request: what was given.
        every_key: whether all of its ``block_keys`` are looked at, because all will be remembered; else the first and
            the last, for to look at a thousand takes half as long as to route them.

    Raises:
        BadInput: naming the field, the value and what was expected.

    Example:
        >>> routable_request(Request(id=1, arrival_s=0.0, prompt_tokens=16)).id
        1
    """
    if not isinstance(request, Request):
        raise BadInput("request", request, "a Request")
    if not (type(request.id) is type(request.prompt_tokens) is type(request.block_tokens) is int):
        for name in ("id", "prompt_tokens", "block_tokens"):
            if type(getattr(request, name)) is not int:
                raise BadInput(f"request.{name}", getattr(request, name), "an integer")
    keys = request.block_keys
    if type(keys) is not tuple:
        raise BadInput("request.block_keys", keys, "a tuple of keys")
    some = keys if every_key else (*keys[:1], *keys[-1:])
    if not _KEY_TYPES.issuperset(map(type, some)):
        checked_keys("request.block_keys", keys)
    if not (request.session is None or type(request.session) is int):
        raise BadInput("request.session", request.session, "an integer or None")
    if type(request.group) is not str:
        raise BadInput("request.group", request.group, "a text")
    return checked_request(request)
