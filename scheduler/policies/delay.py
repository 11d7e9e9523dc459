"""The rule of least harm: ``argmin q_i + (n_i + kappa) B_i``, total delay that the request adds, in prefill tokens.

Source: claims ``marginal_delay`` and ``decode_offset``. Instances are taken as equally fast; with unequal speeds the
delay form differs (claim ``unequal_speeds``).
"""

from __future__ import annotations

from scheduler import formulas
from scheduler.domains import TOKENS_MAX, Domain
from scheduler.indicators import Indicators
from scheduler.ops import Number, Ops
from scheduler.policies.rule import Aggregates, Knob, Knobs, Rule


def delay(_ops: Ops, x: Indicators, _: Aggregates, __: Knobs) -> Number:
    """``q_i + n_i B_i``: prefill stalls decode and is served first come, first served."""
    return formulas.marginal_delay(x.queued_prefill_tokens, x.new_prefill_tokens, x.batch_size)


def delay_with_decode(_ops: Ops, x: Indicators, _: Aggregates, knobs: Knobs) -> Number:
    """``q_i + (n_i + kappa) B_i``; kappa is the knob or, if that is None, ``2 gamma_i overlap n_out / tau_i``."""
    offset = knobs.kappa
    if offset is None:
        offset = formulas.kappa(x.prefill_s_per_token, x.decode_s_per_request, x.expected_output_tokens, knobs.overlap)
    return formulas.marginal_delay(x.queued_prefill_tokens, x.new_prefill_tokens, x.batch_size, offset)


MARGINAL_DELAY = Rule("marginal_delay", "least delay added to prefill", "claim marginal_delay", delay)
MARGINAL_DELAY_OFFSET = Rule(
    "marginal_delay_offset",
    "least delay added to prefill and decode",
    "claim decode_offset",
    delay_with_decode,
    knobs=(
        Knob(
            "kappa",
            None,
            "decode offset in prefill tokens; none derives it from step times and expected output",
            Domain(0, TOKENS_MAX, unit="token", typical_high=500),
            sweep=(None, 0, 16, 64, 256, 1024),
            optional=True,
            derived_from=("prefill_s_per_token", "decode_s_per_request", "expected_output_tokens"),
        ),
        Knob(
            "overlap",
            0.5,
            "share of the decode steps that another request shares, for a derived kappa",
            Domain(0, 1, typical_high=1),
            sweep=(0.5, 0.75, 1.0),
        ),
    ),
)

RULES = (MARGINAL_DELAY, MARGINAL_DELAY_OFFSET)
