"""Whether a cached prefix changes what a model says: greedy output with and without it, token for token.

One model, two caches: one shares blocks, the other never does. Each prompt goes through both, alone, one after the
other; in the sharing cache its prefix lies already. Tokens are compared to the end, logits up to and with the first
token that differs (behind it the inputs differ, so logits have nothing in common). With random weights the best two
logits are close, so that tokens differ sooner than those of a trained model would.

A prompt whose prefix is cached is prefilled in another shape than one that is computed whole, so in bfloat16 small
differences are no fault; a wrong block would change logits by about their spread, which is told beside.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Any

from benchmarks.gpu_checkpoint import CutShort
from replay.engines.transformers_cb import Shape, manager_of, model_of

PROMPTS, PREFIXES, OUTPUT_TOKENS = 24, 6, 32
#: Tokens of the shared prefixes, and behind them, at least and at most [token].
PREFIX_TOKENS, REST_TOKENS = (128, 768), (5, 200)
_PATIENCE_S = 60.0


class Comparison:
    """A model with two caches, one of which shares.

    Args:
        shape: of the model.
        seed: of the prompts.
    """

    def __init__(self, shape: Shape, seed: int) -> None:
        self.shape, self._rng = shape, random.Random(seed)
        self._logits: list[Any] = []
        self._found: dict[str, int] = {}
        self._model = model_of(shape)
        self._hook = self._model.lm_head.register_forward_hook(self._seen)
        self._managers = {sharing: manager_of(self._model, shape, sharing=sharing) for sharing in (False, True)}
        for manager in self._managers.values():
            manager.start()

    def close(self) -> None:
        """Give everything back."""
        for manager in self._managers.values():
            manager.stop(block=True, timeout=_PATIENCE_S)
        self._hook.remove()
        self._managers.clear()
        self._model = None
        self._logits.clear()

    def _seen(self, _module: Any, _inputs: Any, output: Any) -> None:
        """The logits of a step: the last row is that of the only request."""
        self._logits.append(output.detach()[0, -1].float().cpu())

    def _said(self, ids: list[int], sharing: bool, name: str) -> tuple[list[int], list[Any], int]:
        """Tokens, the logits behind each, and how many prompt tokens came from the cache."""
        manager = self._managers[sharing]
        while manager.batch_processor is None:  # its thread makes it
            if not manager.is_running():
                raise RuntimeError(f"no cache: {manager.background_thread_status.fatal_error}")
            time.sleep(0.001)
        cache = manager.batch_processor.cache
        before = cache._total_prefix_length  # noqa: SLF001 - the library tells it nowhere else
        self._logits.clear()
        manager.add_request(ids, request_id=name, max_new_tokens=OUTPUT_TOKENS, eos_token_id=-1)
        output = manager.get_result(name, timeout=_PATIENCE_S)
        if output is None or output.error:
            raise RuntimeError(
                f"no reply: {manager.background_thread_status.fatal_error if output is None else output.error}"
            )
        tokens = list(output.generated_tokens)
        # A chunk of a long prompt has a row too, which means nothing; the last rows are those of the tokens.
        return tokens, self._logits[-len(tokens) :], cache._total_prefix_length - before  # noqa: SLF001

    def rows(self, stop: Callable[[], bool]) -> list[dict[str, Any]]:
        """One row a prompt; fewer if told to stop."""
        rng, rows = self._rng, []
        prefixes = [self._ids(rng.randint(*PREFIX_TOKENS)) for _ in range(PREFIXES)]
        for number, prefix in enumerate(prefixes):
            self._said([*prefix, *self._ids(REST_TOKENS[0])], True, f"prefix {number}")
        for number in range(PROMPTS):
            if stop():
                break
            ids = [*prefixes[number % PREFIXES], *self._ids(rng.randint(*REST_TOKENS))]
            plain = self._said(ids, False, f"plain {number}")
            shared = self._said(ids, True, f"shared {number}")
            rows.append(compared(ids, plain, shared))
        return rows

    def _ids(self, count: int) -> list[int]:
        return [self._rng.randrange(10, self.shape.vocabulary) for _ in range(count)]


Said = tuple[list[int], list[Any], int]


def compared(ids: list[int], plain: Said, shared: Said) -> dict[str, Any]:
    """What differs between two replies to a prompt."""
    differs = next((at for at, pair in enumerate(zip(plain[0], shared[0], strict=True)) if pair[0] != pair[1]), None)
    common = len(plain[0]) if differs is None else differs + 1
    gaps = [float((one - two).abs().max()) for one, two in zip(plain[1][:common], shared[1][:common], strict=True)]
    spreads = [float(one.std()) for one in plain[1][:common]]
    best = [one.topk(2).values for one in plain[1][:common]]
    return {
        "prompt_tokens": len(ids),
        "cached_tokens": shared[2],
        "cached_tokens_without_sharing": plain[2],
        "first_difference": differs,
        "logit_difference_max": max(gaps),
        "logit_spread": sum(spreads) / len(spreads),
        "best_two_apart_min": min(float(pair[0] - pair[1]) for pair in best),
    }


def numerics(shape: Shape, seed: int, stop: Callable[[], bool]) -> dict[str, Any]:
    """Compare, and give the model back.

    Args:
        shape: of the model.
        seed: of the prompts.
        stop: asked before each prompt; True ends the comparison.

    Raises:
        CutShort: if there was no time for a single prompt.
        RuntimeError: if the library gives no reply.
    """
    comparison = Comparison(shape, seed)
    try:
        rows = comparison.rows(stop)
    finally:
        comparison.close()
        _forget(shape.device)
    if not rows:
        raise CutShort("no time for a single prompt")
    return told_of(rows, shape)


def told_of(rows: list[dict[str, Any]], shape: Shape) -> dict[str, Any]:
    """The rows and what they come to."""
    first = sorted(row["first_difference"] for row in rows if row["first_difference"] is not None)
    return {
        "dtype": shape.dtype,
        "attention": "paged|sdpa",
        "output_tokens": OUTPUT_TOKENS,
        "prompts": len(rows),
        "prompts_wanted": PROMPTS,
        "equal": len(rows) - len(first),
        "equal_share": (len(rows) - len(first)) / len(rows),
        "first_difference_min": first[0] if first else None,
        "first_differences": first,
        "logit_difference_max": max(row["logit_difference_max"] for row in rows),
        "logit_spread_mean": sum(row["logit_spread"] for row in rows) / len(rows),
        "cached_share": sum(row["cached_tokens"] for row in rows) / sum(row["prompt_tokens"] for row in rows),
        "rows": rows,
    }


def _forget(device: str) -> None:
    """Hand memory back to the device, for the engines."""
    import gc

    import torch

    gc.collect()
    if device == "cuda":
        torch.cuda.empty_cache()
