"""One pass over the instances: the few numbers from which the detector sees whether there is anything to explain.

The columns are defined once, over Ops (:func:`screen_columns`), and read in two ways: compiled into a loop over Python
numbers, which is quicker for few instances, and by NumPy, which is quicker for many. A test shows that both give the
same numbers. What is found from them is worked out by clear code in ``scheduler/findings/``.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np

from scheduler import formulas
from scheduler.indicators import NOTHING, batch_size, new_prefill_tokens, p_token
from scheduler.ops import ARRAY, Number, Ops
from scheduler.policies import product
from scheduler.policies.compiled import compile_keys
from scheduler.policies.rule import Policy, Rule

#: From so many instances on NumPy is the quicker reader (measured: equal at about 40).
ARRAYS_FROM = 40
#: The product rules: their key is one number, reads nothing of the others, and whole numbers stay below 2^53.
PRODUCTS = frozenset(rule.name for rule in product.RULES)
#: Those that count queue and request, and differ in the floor alone: what is claimed of ``P B`` holds of them.
FULL_PRODUCTS = frozenset({product.LMETRIC.name, product.LMETRIC_PAPER.name})

#: Reductions, called without the detour through the method of the array.
_least, _most = np.minimum.reduce, np.maximum.reduce
_WHOLE_MAX = np.iinfo(np.int64).max

#: ``read(view, prompt_tokens)`` gives the rule's keys (or None) and the columns harm, new tokens, batch size.
Reader = Callable[[Any, int], "Columns"]


class Columns:
    """Columns of all instances, lists or tuples of Python numbers or NumPy arrays.

    Args:
        keys: of the rule, or None if it is not a product rule.
        harms: delay that the request adds, in prefill tokens, without decode [token].
        news: new prefill tokens n [token].
        batches: batch sizes B [request].
        most_running, most_hit: greatest number of requests that run, longest cached prefix [request, token].
    """

    __slots__ = ("batches", "harms", "keys", "most_hit", "most_running", "news")

    def __init__(self, keys: Any, harms: Any, news: Any, batches: Any, most_running: int, most_hit: int) -> None:
        self.keys, self.harms, self.news, self.batches = keys, harms, news, batches
        self.most_running, self.most_hit = most_running, most_hit


class Screen:
    """What one pass tells.

    Args:
        chosen: index that the rule takes, the first of equals.
        key, runner_key: its key and the least key of another instance (None if there is none).
        harm, least_harm: delay added at the choice, and at the best instance [token].
        batch, least_batch: batch size at the choice, and the least [request].
    """

    __slots__ = ("batch", "chosen", "harm", "key", "least_batch", "least_harm", "runner_key")

    def __init__(
        self, chosen: int, key: Any, runner_key: Any, harm: Number, least_harm: Number, batch: int, least_batch: int
    ) -> None:
        self.chosen, self.key, self.runner_key = chosen, key, runner_key
        self.harm, self.least_harm, self.batch, self.least_batch = harm, least_harm, batch, least_batch


def screen_columns(_ops: Ops, x: Any) -> tuple[Number, Number, Number]:
    """Harm ``q + n B``, new tokens and batch size of an instance, or of all."""
    harm = formulas.marginal_delay(x.queued_prefill_tokens, x.new_prefill_tokens, x.batch_size)
    return harm, x.new_prefill_tokens, x.batch_size


def list_reader(policy: Policy) -> Reader:
    """The reader by one compiled loop over Python numbers.

    Example:
        >>> from scheduler.policies.catalogue import policy
        >>> view = SimpleNamespace(running=(0, 3), waiting=(0, 0), queued_prefill_tokens=(0, 0), hit_tokens=(0, 128))
        >>> list_reader(policy("lmetric"))(view, 160).keys
        (160, 128)
    """
    rule, with_key = policy.rule, policy.rule.name in PRODUCTS

    def key(ops: Ops, x: Any, _aggregates: Any, _knobs: Any) -> tuple[Number, ...]:
        columns = screen_columns(ops, x)
        return (rule.key(ops, x, None, policy.knobs), *columns) if with_key else columns

    rows = compile_keys(Rule("screen", "columns of the detector", "claim marginal_delay", key).with_knobs())

    def read(view: Any, prompt_tokens: int) -> Columns:
        columns = zip(*rows(view, prompt_tokens, None, 1, NOTHING), strict=True)
        keys = next(columns) if with_key else None
        harms, news, batches = columns
        return Columns(keys, harms, news, batches, max(view.running), max(view.hit_tokens))

    return read


def array_reader(policy: Policy) -> Reader:
    """The reader by NumPy; whole numbers within their domains stay exact in 64 bits."""
    rule, with_key, knobs = policy.rule, policy.rule.name in PRODUCTS, policy.knobs

    def read(view: Any, prompt_tokens: int) -> Columns:
        running, waiting, queued, hits = map(
            whole_array, (view.running, view.waiting, view.queued_prefill_tokens, view.hit_tokens)
        )
        new_tokens = new_prefill_tokens(ARRAY, prompt_tokens, hits)
        x: Any = SimpleNamespace(
            running=running,
            waiting=waiting,
            queued_prefill_tokens=queued,
            hit_tokens=hits,
            prompt_tokens=prompt_tokens,
            new_prefill_tokens=new_tokens,
            p_token=p_token(queued, new_tokens),
            batch_size=batch_size(running, waiting),
        )
        keys = rule.key(ARRAY, x, None, knobs) if with_key else None
        return Columns(keys, *screen_columns(ARRAY, x), int(_most(running)), int(_most(hits)))

    return read


def whole_array(column: Sequence[int]) -> Any:
    """A column of whole numbers as an array of 64 bits; four times as quick as NumPy's own conversion.

    Example:
        >>> whole_array((3, 2**31)).tolist()
        [3, 2147483648]
    """
    return np.frombuffer(struct.pack(f"{len(column)}q", *column), dtype=np.int64)


def real_array(column: Sequence[float]) -> Any:
    """The same of real numbers, in binary64."""
    return np.frombuffer(struct.pack(f"{len(column)}d", *column), dtype=np.float64)


def screen(columns: Columns, keys: Any) -> Screen:
    """Reduce the columns; ``keys`` are the rule's, from the columns or from elsewhere."""
    if isinstance(keys, np.ndarray):
        chosen = int(keys.argmin())
        key, runner = int(keys[chosen]), _runner_in_array(keys, chosen)
    else:
        key = min(keys)
        chosen = keys.index(key)
        runner = min(keys[:chosen] + keys[chosen + 1 :]) if len(keys) > 1 else None
    harms, batches = columns.harms, columns.batches
    if isinstance(harms, np.ndarray):
        least_harm, least_batch = int(_least(harms)), int(_least(batches))
        return Screen(chosen, key, runner, int(harms[chosen]), least_harm, int(batches[chosen]), least_batch)
    return Screen(chosen, key, runner, harms[chosen], min(harms), batches[chosen], min(batches))


def _runner_in_array(keys: Any, chosen: int) -> int | None:
    if len(keys) < 2:
        return None
    others = keys.copy()
    others[chosen] = _WHOLE_MAX
    return int(_least(others))


def indices_where(column: Any, value: Number) -> list[int]:
    """Where a column has a value.

    Example:
        >>> indices_where([1, 2, 1], 1)
        [0, 2]
    """
    if isinstance(column, np.ndarray):
        found: list[int] = (column == value).nonzero()[0].tolist()
        return found
    return [index for index, entry in enumerate(column) if entry == value]
