"""What to paste after servers were started: where they are, and a command that replays on them."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from replay.engines.openai_http import HttpOptions

#: Small enough for the longest sequence and the caches of the tiny model.
SOURCE = (
    "workload:chat:requests=60,rate_per_s=2,block_tokens=32,system_tokens=64,opening_tokens_mean=250,"
    "turn_tokens_mean=60,output_tokens_mean=20,context_tokens_max=1500"
)


def hint(places: Sequence[tuple[str, str, str]], vocabulary: int) -> str:
    """Lines for who has started servers.

    Args:
        places: of each, where it takes requests, where it tells of its cache, and where it tells that again.
        vocabulary: token ids run below it.
    """
    small = vocabulary < HttpOptions().vocabulary
    words = [
        ".venv/bin/argprod replay",
        shlex.quote(SOURCE),
        f"--engine http{f':vocabulary={vocabulary}' if small else ''} -p lmetric -p random",
        *(f"--endpoint {url} --kv-events {shlex.quote(f'{told},{again}')}" for url, told, again in places),
    ]
    lines = [f"{url}  {told},{again}" for url, told, again in places]
    return "\n".join([*lines, "", "To replay on them, hearing of their caches:", "", " \\\n    ".join(words)])
