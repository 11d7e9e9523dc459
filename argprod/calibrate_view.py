"""A calibration for the terminal: the fitted coefficients, and how far predictions are off on steps not fitted."""

from __future__ import annotations

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from argprod.tables import number
from replay.calibration.file import Calibration
from replay.calibration.fit import Coefficient, Error

#: What each coefficient is the time of.
LABELS = {
    "base_s": "a step with nothing in it",
    "prefill_s_per_token": "a prefill token",
    "decode_s_per_request": "a decoding request",
    "kv_s_per_token": "a KV token read",
    "attention_s_per_pair": "a pair of tokens in prefill",
}
#: A median error on held-out steps, or a difference of equal steps, above this gets a warning.
DOUBTED = 0.25
_UNITS = (("s", 1.0), ("ms", 1e3), ("µs", 1e6), ("ns", 1e9), ("ps", 1e12))
_OUT_OF = 1e-12


def duration(value_s: float) -> str:
    """A time in the unit that suits it.

    Example:
        >>> duration(0.0061), duration(2.5e-8), duration(0.0), duration(-1e-7)
        ('6.10 ms', '25.0 ns', '0 s', '-100 ns')
    """
    if abs(value_s) < _OUT_OF:
        return "0 s"
    unit, factor = next((pair for pair in _UNITS if abs(value_s) * pair[1] >= 1), _UNITS[-1])
    return f"{number(value_s * factor)} {unit}"


def show_calibration(console: Console, calibration: Calibration) -> None:
    """Both tables, and what has to be said beside them."""
    console.print(coefficient_table(calibration))
    console.print("±: two standard errors, as if steps were independent of each other; so rather too small.")
    for one in calibration.coefficients:
        if one.note:
            console.print(f"{LABELS[one.name]}: 0, because {_because(one)}", soft_wrap=True)
    console.print(error_table(calibration))
    console.print(
        "bias: of the sum of step times. TTFT is made of prefill and mixed steps, TPOT of decode and mixed ones."
    )
    if calibration.noise is not None:
        apart = _percent(calibration.noise)
        console.print(
            f"noise: equal steps that follow each other differ by {apart} (median); where the error is no larger, the "
            "machine is to blame and not the fit"
        )
    doubt = doubts(calibration)
    if doubt:
        console.print(escape(doubt), soft_wrap=True)
    if calibration.left_out:
        share = _percent(calibration.left_out_time_fraction)
        console.print(
            f"left out of the fit: {calibration.left_out} of {calibration.fitted_steps} steps, {share} of the time: "
            "they took many times longer than what was in them says"
        )


def doubts(calibration: Calibration) -> str:
    """One line where the step times should not be trusted, else an empty text."""
    held_out = calibration.held_out_error
    rows = {"all": held_out, **held_out.kinds}
    poor = [f"{name} steps {_percent(error.median)}" for name, error in rows.items() if error.median > DOUBTED]
    noise = calibration.noise
    told = [f"the median error is large ({', '.join(poor)})"] if poor else []
    if noise is not None and noise > DOUBTED:
        told.append("equal steps take unequal times (another program on these cores? try torch:threads=1)")
    return f"Do not rely on these step times: {', and '.join(told)}." if told else ""


def coefficient_table(calibration: Calibration) -> Table:
    """One row a coefficient."""
    engine = calibration.engine
    table = _table(f"step times of {engine.name}, fitted to {calibration.fitted_steps} measured steps")
    table.add_column("time of")
    for heading in ("value", "±", "share of\nthe time\n%"):
        table.add_column(heading, justify="right", no_wrap=True)
    for one in calibration.coefficients:
        error = "-" if one.standard_error is None else duration(2 * one.standard_error)
        table.add_row(LABELS[one.name], duration(one.value), error, number(100 * one.time_fraction))
    return table


def error_table(calibration: Calibration) -> Table:
    """Relative errors on held-out steps, of all and by kind."""
    table = _table("error on steps of rounds that were held out")
    table.add_column("kind of step")
    for heading in ("steps", "median\n%", "p90\n%", "bias\n%"):
        table.add_column(heading, justify="right", no_wrap=True)
    held_out = calibration.held_out_error
    rows: dict[str, Error] = {**held_out.kinds, "all": held_out, "(all that were fitted)": calibration.fitted_error}
    for name, error in rows.items():
        table.add_row(
            name, str(error.steps), number(100 * error.median), number(100 * error.p90), number(100 * error.bias)
        )
    return table


def _percent(share: float) -> str:
    return f"{number(100 * share, 2)}%"


def _because(one: Coefficient) -> str:
    note = one.note
    for name, label in LABELS.items():
        note = note.replace(name, label)
    return escape(note)


def _table(title: str) -> Table:
    return Table(title=escape(title), title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
