"""A calibration: what was fitted to an engine, how well, and all that the simulator needs to stand in for it.

It is one JSON file, ``docs/schemas/calibration.schema.json``. The simulator takes it as a cluster
(:meth:`Calibration.cluster`). What comes out of that is simulated, whatever its step times were fitted to.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import msgspec

from replay.calibration.fit import Coefficient, FitError, error_of, fit_step_time
from replay.calibration.rounds import all_steps, noise_of, split
from replay.calibration.step_log import EngineFacts, Provenance, StepLog
from replay.sim.cluster import INSTANCES_DOMAIN, Cluster
from scheduler.accounting import Level
from scheduler.cost import StepTime
from scheduler.domains import Domain
from scheduler.errors import LETTERS_SHOWN, BadInput, BadTrace

_EXPECTED = "a calibration file of argprod calibrate"
_COUNT = Domain(1, 2**31, integer=True, unit="1")


class Calibration(msgspec.Struct, frozen=True, kw_only=True):
    """A fitted step time, the engine it belongs to, and how far to trust it.

    Args:
        step_time: for the simulator and for rules that ask for engine times.
        coefficients: each of its fields with its standard error, or why it is 0.
        engine: that was measured.
        fitted_steps: steps of the rounds it was fitted to [step].
        left_out: of those, how many took many times what the fit says, and were not fitted [step].
        left_out_time_fraction: share of the measured time in these.
        fitted_error: of the fit on the steps it was fitted to.
        held_out_error: on rounds that it did not see; the one to quote.
        noise: how far equal steps are from each other (:func:`replay.calibration.rounds.noise_of`), if it is known.
        provenance: of the measurement.
        calibration: version of this format; another one is for another reader.
    """

    step_time: StepTime
    coefficients: tuple[Coefficient, ...]
    engine: EngineFacts
    fitted_steps: int
    left_out: int
    left_out_time_fraction: float
    fitted_error: FitError
    held_out_error: FitError
    noise: float | None
    provenance: Provenance
    calibration: Literal[1] = 1

    def cluster(
        self,
        instances: int,
        level: Level = Level.PROXY,
        *,
        kv_tokens: int | None = None,
        delay_s: float = 0.0,
        context_limit_tokens: int | None = None,
    ) -> Cluster:
        """A cluster of such engines, to simulate.

        Args:
            instances: how many, >= 1.
            level, delay_s, context_limit_tokens: see :class:`replay.sim.cluster.Cluster`.
            kv_tokens: KV capacity of an instance; that of the engine if None [token].

        Raises:
            BadInput: for a number that cannot be, or if the engine did not tell its capacity.
        """
        INSTANCES_DOMAIN.check("instances", instances)
        if kv_tokens is None:
            blocks = _COUNT.check("kv_blocks", self.engine.kv_blocks, "this engine did not tell them: set kv_tokens")
            kv_tokens = blocks * self.engine.block_tokens
        return Cluster(
            (self.step_time,) * instances,
            kv_tokens,
            batch_tokens=self.engine.batch_tokens,
            max_batch=min(self.engine.max_batch, self.engine.batch_tokens - 1),
            level=level,
            delay_s=delay_s,
            context_limit_tokens=context_limit_tokens,
        )


def calibrate(log: StepLog, seed: int = 0) -> Calibration:
    """Fit a log: most of its rounds are fitted, the others tell the error.

    Args:
        log: of one engine.
        seed: of the draw which rounds are held out.

    Raises:
        BadInput: for too few steps.
    """
    fitted, held_out = (all_steps(rounds) for rounds in split(log.rounds, seed))
    fit = fit_step_time(fitted)
    return Calibration(
        step_time=fit.step_time,
        coefficients=fit.coefficients,
        engine=log.header.engine,
        fitted_steps=fit.steps,
        left_out=fit.left_out,
        left_out_time_fraction=fit.left_out_time_fraction,
        fitted_error=error_of(fit.step_time, fitted),
        held_out_error=error_of(fit.step_time, held_out),
        noise=noise_of(log.rounds),
        provenance=log.header.provenance,
    )


def as_json(calibration: Calibration) -> bytes:
    """A calibration as its file has it."""
    return msgspec.json.format(msgspec.json.encode(calibration), indent=2) + b"\n"


def read_calibration(path: Path) -> Calibration:
    """Read a file that :func:`as_json` made.

    Raises:
        BadTrace: if this is none, or of another version, naming the field; a step time that cannot be.
        OSError: if the file cannot be read.
    """
    data = path.read_bytes()
    try:
        found = msgspec.json.decode(data, type=Calibration)
    except (msgspec.MsgspecError, UnicodeDecodeError) as fault:
        begins = " ".join(data[:LETTERS_SHOWN].decode(errors="replace").split())
        raise BadTrace(str(path), 0, "", begins, _EXPECTED, str(fault)) from None
    except BadInput as fault:  # what a step time says of itself
        raise BadTrace(str(path), 0, f"step_time.{fault.field}", fault.value, fault.expected) from None
    for name in ("block_tokens", "kv_blocks", "batch_tokens", "max_batch"):
        value = getattr(found.engine, name)
        if value is not None and not _COUNT.contains(value):
            raise BadTrace(str(path), 0, f"engine.{name}", value, _COUNT.describe())
    return found
