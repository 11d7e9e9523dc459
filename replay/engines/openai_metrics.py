"""What a server tells of itself, not of a request: gauges and the size of its KV cache, from vLLM's and SGLang's names.

Both serve Prometheus' text at ``/metrics`` (SGLang with ``--enable-metrics``); SGLang tells the size of its cache at
``/server_info`` too. Series of several engines behind one address are added up, fractions are averaged; of the ranks
that share one engine the first speaks.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

import msgspec

#: Where each figure stands, the newest name first.
_RUNNING = ("vllm:num_requests_running", "sglang:num_running_reqs")
_WAITING = ("vllm:num_requests_waiting", "sglang:num_queue_reqs")
_KV_USED = ("vllm:kv_cache_usage_perc", "vllm:gpu_cache_usage_perc", "sglang:token_usage")
_QUERIES = ("vllm:prefix_cache_queries_total", "vllm:gpu_prefix_cache_queries_total", "sglang:prompt_tokens_total")
_HITS = ("vllm:prefix_cache_hits_total", "vllm:gpu_prefix_cache_hits_total", "sglang:cached_tokens_total")
#: Of the cache's configuration: the series, its labels for tokens in a block and for blocks, and how many of these hold
#: nothing: vLLM keeps its first block empty (``null_block`` in its ``v1/core/block_pool.py``).
_SHAPES = (
    ("vllm:cache_config_info", "block_size", "num_gpu_blocks", 1),
    ("sglang:cache_config_info", "page_size", "num_pages", 0),
)
_RANKS = ("tp_rank", "pp_rank", "moe_ep_rank")

_SAMPLE = re.compile(r"((?:vllm|sglang):\w+)(?:\{(.*)\})?[ \t]+(\S+)(?:[ \t]+-?\d+)?[ \t]*")
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')

Series = tuple[dict[str, str], float]


class Gauges(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What a server tells of its load; None where it does not.

    Args:
        running: requests in the batch [request].
        waiting: requests in the queue [request].
        kv_used_fraction: of the KV cache in use by requests, from 0 to 1. It says nothing of what is cached beyond.
        prefix_queries: prompt tokens looked up in the cache since the server began; SGLang tells all prompt tokens
            instead [token].
        prefix_hits: of these, found there [token].
    """

    running: int | None = None
    waiting: int | None = None
    kv_used_fraction: float | None = None
    prefix_queries: int | None = None
    prefix_hits: int | None = None


class CacheShape(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The KV cache of a server; None where it is not told.

    Args:
        block_tokens: tokens in a block [token].
        kv_blocks: blocks [block].
    """

    block_tokens: int | None = None
    kv_blocks: int | None = None


def read_gauges(text: str) -> Gauges:
    """The load, from what ``/metrics`` says.

    Example:
        >>> read_gauges('vllm:num_requests_running{engine="0",model_name="m"} 2.0')
        Gauges(running=2, waiting=None, kv_used_fraction=None, prefix_queries=None, prefix_hits=None)
    """
    series = _series(text)
    used = _first(series, _KV_USED)
    return Gauges(
        running=_total(_first(series, _RUNNING)),
        waiting=_total(_first(series, _WAITING)),
        kv_used_fraction=sum(used) / len(used) if used else None,
        prefix_queries=_total(_first(series, _QUERIES)),
        prefix_hits=_total(_first(series, _HITS)),
    )


def read_cache_shape(text: str) -> CacheShape:
    """The cache, from what ``/metrics`` says; the smallest, where there are several.

    Example:
        >>> read_cache_shape('vllm:cache_config_info{block_size="32",num_gpu_blocks="None"} 1.0')
        CacheShape(block_tokens=32, kv_blocks=None)
    """
    series = _series(text)
    for name, size, count, empty in _SHAPES:
        if name in series:
            labels = [found for found, _ in series[name]]
            blocks = _least(labels, count)
            return CacheShape(
                block_tokens=_least(labels, size), kv_blocks=None if blocks is None else max(1, blocks - empty)
            )
    return CacheShape()


class _ServerInfo(msgspec.Struct):
    page_size: int | None = None
    max_total_num_tokens: int | None = None


def read_server_info(body: bytes) -> CacheShape:
    """The cache, from what SGLang's ``/server_info`` says.

    Example:
        >>> read_server_info(b'{"page_size": 16, "max_total_num_tokens": 100, "version": "0.5"}')
        CacheShape(block_tokens=16, kv_blocks=6)
    """
    try:
        info = msgspec.json.decode(body, type=_ServerInfo)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return CacheShape()
    size, total = info.page_size or None, info.max_total_num_tokens
    return CacheShape(block_tokens=size, kv_blocks=None if size is None or not total else total // size)


def _series(text: str) -> dict[str, list[Series]]:
    """The series of engines, by name."""
    found: dict[str, list[Series]] = {}
    for line in text.split("\n"):
        match = _SAMPLE.fullmatch(line.rstrip("\r"))
        if match is None:
            continue
        labels = dict(_LABEL.findall(match[2] or ""))
        try:
            value = float(match[3])
        except ValueError:
            continue
        if math.isfinite(value) and all(labels.get(rank, "0") in ("0", "") for rank in _RANKS):
            found.setdefault(match[1], []).append((labels, value))
    return found


def _first(series: dict[str, list[Series]], names: Sequence[str]) -> list[float]:
    """The values of the first of these names that is there."""
    return next(([value for _, value in series[name]] for name in names if name in series), [])


def _total(values: list[float]) -> int | None:
    return round(sum(values)) if values else None


def _least(labels: list[dict[str, str]], name: str) -> int | None:
    """The smallest number that a label has; None if it is no number (vLLM writes ``None`` for some)."""
    return min((int(text) for found in labels if (text := found.get(name, "")).isdecimal() and int(text)), default=None)
