"""Takes out of the book what would ask the network: live cells, which load their code from elsewhere when asked to."""

from __future__ import annotations

from typing import Any

from sphinx.application import Sphinx


def _without_live_cells(app: Sphinx) -> None:
    for name in ("builder-inited", "env-before-read-docs", "doctree-resolved"):
        for listener in list(app.events.listeners.get(name, ())):
            if listener.handler.__module__.startswith("sphinx_thebe"):
                app.disconnect(listener.id)


def setup(app: Sphinx) -> dict[str, Any]:
    """Called by Sphinx."""
    app.connect("builder-inited", _without_live_cells, priority=1)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
