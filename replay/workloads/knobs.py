"""What a workload is: a name, parameters with their domains and sources, and a seeded generator."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from random import Random
from typing import Any

from scheduler.domains import REQUEST_DOMAINS, TOKENS_MAX, Domain
from scheduler.errors import BadInput, unknown_name
from scheduler.state import Request

ASSUMED = "assumption, no public figure"
FLAG = Domain(0, 1, integer=True)
COUNT = Domain(1, 10**9, integer=True)
RATE = Domain(0, 10**6, unit="1/s", low_open=True)
SHARE = Domain(0, 1)
SIGMA = Domain(0, 5)
SECONDS = Domain(0, 10**6, unit="s")
TOKENS = Domain(1, TOKENS_MAX, unit="token")

SEED_DOMAIN = Domain(0, 2**63 - 1, integer=True)
_FLAG_WORDS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}

#: Values of the parameters, checked, by name.
Values = Mapping[str, Any]


@dataclass(frozen=True)
class Parameter:
    """One knob of a workload.

    Args:
        name: as in ``workload:NAME:name=value``.
        default: its value where none is given; its type (bool, int, float) is the type of the parameter.
        domain: what it may be.
        source: where the default comes from.
    """

    name: str
    default: float
    domain: Domain
    source: str = ASSUMED

    def checked(self, field: str, value: object) -> Any:
        """The value, if it lies in the domain.

        Raises:
            BadInput: naming the parameter.
        """
        if isinstance(self.default, bool):
            if not isinstance(value, bool):
                raise BadInput(field, value, "true or false")
            return value
        self.domain.check(field, value)
        return int(value) if self.domain.integer else value  # type: ignore[call-overload]

    def parsed(self, field: str, text: str) -> Any:
        """The value that a text on the command line means.

        Raises:
            BadInput: naming the parameter, the text and the domain.
        """
        value: object = text
        if isinstance(self.default, bool):
            value = _FLAG_WORDS.get(text.lower(), text)
        else:
            try:
                value = int(text) if self.domain.integer else float(text)
            except ValueError:
                raise BadInput(field, text, self.domain.describe()) from None
        return self.checked(field, value)


@dataclass(frozen=True)
class Workload:
    """A family of generated requests.

    Args:
        name: as in ``workload:NAME``.
        summary: what it stands for, in one line.
        parameters: its knobs; the defaults are the family.
        draw: the generator: a source of randomness and checked values in, requests in order of arrival out.
    """

    name: str
    summary: str
    parameters: tuple[Parameter, ...]
    draw: Callable[[Random, Values], Iterator[Request]]

    def generate(self, seed: int = 0, **params: object) -> Iterator[Request]:
        """Requests, lazily; the same for the same seed and parameters.

        The randomness is Python's Mersenne twister, the same on every platform; lengths are rounded to whole tokens,
        so that last digits of a platform's logarithm do not show.

        Raises:
            BadInput: an unknown parameter (with the nearest names) or a value outside its domain.
        """
        SEED_DOMAIN.check("seed", seed)
        return self.draw(Random(seed), self.values(params))

    def values(self, params: Mapping[str, object]) -> Values:
        """All parameters with the given values in place of defaults, checked.

        Raises:
            BadInput: an unknown parameter or a value outside its domain.
        """
        known = {parameter.name: parameter for parameter in self.parameters}
        for name in params:
            self._parameter(name)
        return {
            name: parameter.checked(self._field(name), params[name]) if name in params else parameter.default
            for name, parameter in known.items()
        }

    def parsed(self, texts: Mapping[str, str]) -> Values:
        """The parameters that texts mean, without the defaults.

        Raises:
            BadInput: an unknown parameter or a text that means no value of its domain.
        """
        return {name: self._parameter(name).parsed(self._field(name), text) for name, text in texts.items()}

    def _field(self, name: str) -> str:
        return f"workload:{self.name}: {name}"

    def _parameter(self, name: str) -> Parameter:
        for parameter in self.parameters:
            if parameter.name == name:
                return parameter
        raise unknown_name(f"workload:{self.name}: parameter", name, [each.name for each in self.parameters])


def common(rate_per_s: float, rate_source: str = ASSUMED, requests: int = 2_000) -> tuple[Parameter, ...]:
    """The parameters that every family has."""
    return (
        Parameter("requests", requests, COUNT),
        Parameter("rate_per_s", rate_per_s, RATE, rate_source),
        # A compromise: engines use 16 and Mooncake's traces 512. At 64 a prompt of 12,000 tokens has 190 keys, a
        # quarter of the generator's and the simulator's work at 16, and a cached prefix is known to within 64 tokens.
        Parameter("block_tokens", 64, REQUEST_DOMAINS["block_tokens"], "chosen: quick, and finer than Mooncake's 512"),
    )


def lognormal(name: str, mean: float, sigma: float, source: str = ASSUMED) -> tuple[Parameter, Parameter]:
    """Two parameters for a length: its mean [token] and the spread of its logarithm."""
    return Parameter(f"{name}_mean", mean, TOKENS, source), Parameter(f"{name}_sigma", sigma, SIGMA, source)
