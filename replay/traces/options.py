"""What a caller may choose about reading a trace."""

from __future__ import annotations

from dataclasses import dataclass

from scheduler.domains import REQUEST_DOMAINS
from scheduler.errors import BadInput, unknown_name

ON_BAD_LINE = ("fail", "skip")


@dataclass(frozen=True)
class ReadOptions:
    """How to read a trace.

    Args:
        on_bad_line: ``fail`` raises at the first bad line; ``skip`` leaves it out and counts it.
        closed_loop: whether a turn waits for the reply to the turn before. None: as the format does it by itself,
            which is no for Bailian (its times are replayed as they stand, as usual), and as the file says for
            argprod's own. False: no links at all. True: an error where the format names no turns (Mooncake, Azure,
            BurstGPT).
        block_tokens: tokens in a block where the file does not say it; None for the format's own size [token].

    Raises:
        BadInput: naming the option.
    """

    on_bad_line: str = "fail"
    closed_loop: bool | None = None
    block_tokens: int | None = None

    def __post_init__(self) -> None:
        if self.on_bad_line not in ON_BAD_LINE:
            raise unknown_name("on_bad_line", str(self.on_bad_line), ON_BAD_LINE)
        if self.closed_loop is not None and not isinstance(self.closed_loop, bool):
            raise BadInput("closed_loop", self.closed_loop, "true or false")
        if self.block_tokens is not None:
            REQUEST_DOMAINS["block_tokens"].check("block_tokens", self.block_tokens)
