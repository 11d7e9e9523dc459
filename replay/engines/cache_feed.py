"""Passes what engines tell of their caches on to the router of the run that is going on."""

from __future__ import annotations

from scheduler.router import Router


class CacheFeed:
    """A :data:`replay.engines.protocol.CacheSink` that outlives the routers it feeds: each run has a new one.

    Example:
        >>> feed = CacheFeed()
        >>> feed("a", (1, 2), None, ())  # nobody routes yet
        >>> feed.counted
        1
    """

    def __init__(self) -> None:
        self.router: Router | None = None
        self.counted = 0

    def __call__(self, name: str, stored: tuple[int, ...], after: int | None, removed: tuple[int, ...]) -> None:
        """Blocks were stored, or removed."""
        self.counted += 1
        if self.router is not None:
            self.router.kv_event(name, stored=stored, after=after, removed=removed)

    def cleared(self, name: str) -> None:
        """An instance forgot all that it had cached."""
        self.counted += 1
        if self.router is not None:
            self.router.kv_event(name, cleared=True)
