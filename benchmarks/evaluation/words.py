"""Comparisons in words."""

from __future__ import annotations

from collections.abc import Iterable

from benchmarks.evaluation.comparing import Compared


def percent(ratio: float) -> str:
    """A ratio as a change.

    Example:
        >>> percent(0.5), percent(1.204)
        ('-50%', '+20%')
    """
    return f"{round(100 * (ratio - 1)):+d}%"


def counted(found: Iterable[Compared]) -> tuple[int, int, int]:
    """How many wins, ties and losses."""
    verdicts = [one.verdict for one in found]
    return verdicts.count("win"), verdicts.count("tie"), verdicts.count("loss")


def between(found: Iterable[Compared]) -> str:
    """The least and the greatest change of some comparisons."""
    ratios = [one.ratio for one in found]
    return f"{percent(min(ratios))} to {percent(max(ratios))}"


def told(found: Iterable[Compared]) -> str:
    """Wins, ties and losses in words."""
    wins, ties, lost = counted(found)
    return f"{wins} wins, {ties} ties and {lost} losses"
