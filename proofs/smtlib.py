"""Theorems as SMT-LIB 2 text, and the opinion of a second solver on them.

The text of a claim asks for a state in which the premises hold and the claim does not: ``unsat`` means proved. The text
of a seeded fault asks the same of the fault: ``sat`` means caught. Any solver reads it; :func:`second_opinion` asks
cvc5, which is installed by the extra ``second-opinion`` and shares no code with Z3.
"""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from functools import reduce
from operator import mul
from pathlib import Path
from typing import Any, Literal

import z3

from proofs.theorem import Theorem
from scheduler.domains import Domain
from scheduler.errors import BadInput

Answer = Literal["unsat", "sat", "unknown"]
ANSWERS: tuple[Answer, ...] = ("unsat", "sat", "unknown")

#: Names of constants that SMT-LIB keeps for itself; quoting does not free them.
_RESERVED = frozenset({"abs", "div", "mod", "not", "and", "or", "xor", "distinct", "ite", "true", "false", "select"})
#: Time for the second solver's process to start [s].
_START_S = 3.0

_TIME = Domain(1, 2**31, integer=True, unit="ms")


def export(stated: Theorem) -> dict[str, str]:
    """The claim and each seeded fault as SMT-LIB 2, by a name that is fit for a file.

    Args:
        stated: the theorem.

    Returns:
        ``claim`` first, then ``fault_NUMBER_WORDS``. Each text sets its logic, says in ``:status`` and in a comment
        which answer is expected, and ends in ``(check-sat)``.

    Example:
        >>> from proofs.theorem import all_theorems
        >>> stated = all_theorems()["proofs/theorems/exchange.py:product_is_the_line_at_the_ratio_of_means"]()
        >>> texts = export(stated)
        >>> list(texts)
        ['claim', 'fault_1_half_the_rate', 'fault_2_flipped']
        >>> print(*texts["claim"].splitlines()[:4], sep=chr(10))
        ; The negation of the claim with its premises. Expected: unsat.
        ; premise: batch sizes are positive
        (set-logic QF_NRA)
        (set-info :status unsat)
    """
    expected: Answer = "sat" if stated.refuted else "unsat"
    comments = [f"premise: {name}" for name in stated.given]
    texts = {
        "claim": _text(
            [f"The negation of the claim with its premises. Expected: {expected}.", *comments],
            [*stated.premises(), z3.Not(stated.claim)],
            expected,
        )
    }
    for number, (name, fault) in enumerate(stated.faults.items(), 1):
        words = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")
        title = f"The negation of a seeded fault ({name}) with the premises of the claim. Expected: sat."
        texts[f"fault_{number}_{words}"] = _text([title, *comments], [*stated.premises(), z3.Not(fault)], "sat")
    return texts


def _text(comments: Sequence[str], formulas: Sequence[Any], expected: Answer) -> str:
    formulas = _standard(formulas)
    solver = z3.Solver()
    solver.add(*formulas)
    # Z3 opens with a comment of its own and says `unknown`; what follows is plain SMT-LIB.
    body = re.sub(r"\A(?:;[^\n]*\n|\(set-info[^\n]*\n)*", "", solver.to_smt2())
    lines = [f"; {comment}" for comment in comments]
    return "\n".join([*lines, f"(set-logic {logic_of(formulas)})", f"(set-info :status {expected})", body])


def logic_of(formulas: Sequence[Any]) -> str:
    """The SMT-LIB logic of formulas over real numbers: ``QF_NRA``, or wider if they need it.

    Example:
        >>> x = z3.Real("x")
        >>> logic_of([x * x > 2]), logic_of([z3.IsInt(x)]), logic_of([z3.ForAll([x], x * x >= 0)])
        ('QF_NRA', 'QF_NIRA', 'NRA')
    """
    terms = list(_terms(formulas))
    whole = any(z3.is_is_int(t) or z3.is_to_real(t) or z3.is_to_int(t) or z3.is_int(t) for t in terms)
    quantified = any(z3.is_quantifier(term) for term in terms)
    functions = any(z3.is_app(t) and t.num_args() and t.decl().kind() == z3.Z3_OP_UNINTERPRETED for t in terms)
    return f"{'' if quantified else 'QF_'}{'UF' if functions else ''}{'NIRA' if whole else 'NRA'}"


def _standard(formulas: Sequence[Any]) -> list[Any]:
    """The same formulas as every solver reads them.

    Constants whose name SMT-LIB keeps for itself get an underscore behind it. Z3 allows a sum of one term, others do
    not; where there is one, Z3's simplifier takes it away (substitution would not reach into quantifiers).
    """
    terms = list(_terms(formulas))
    constants = [term for term in terms if z3.is_const(term) and term.decl().kind() == z3.Z3_OP_UNINTERPRETED]
    pairs = [(c, z3.Const(f"{c}_", c.sort())) for c in constants if str(c) in _RESERVED]
    found = [z3.substitute(formula, *pairs) for formula in formulas] if pairs else list(formulas)
    if any(z3.is_add(term) and term.num_args() == 1 for term in terms):
        found = [z3.simplify(formula) for formula in found]
    return _without_powers(found)


def _without_powers(formulas: list[Any]) -> list[Any]:
    """Powers with a whole exponent written as products: SMT-LIB has no sign for them."""
    pairs = [
        (term, reduce(mul, [term.arg(0)] * term.arg(1).as_long()) if term.arg(1).as_long() else z3.RealVal(1))
        for term in _terms(formulas)
        if z3.is_app_of(term, z3.Z3_OP_POWER) and z3.is_int_value(z3.simplify(z3.ToInt(term.arg(1))))
    ]
    return [z3.substitute(formula, *pairs) for formula in formulas] if pairs else formulas


def _terms(formulas: Sequence[Any]) -> Iterator[Any]:
    """Every term of the formulas once."""
    seen: set[int] = set()
    stack = list(formulas)
    while stack:
        term = stack.pop()
        if term.get_id() not in seen:
            seen.add(term.get_id())
            yield term
            stack.extend(term.children())


def has_second_solver() -> bool:
    """True if cvc5 can be imported."""
    return importlib.util.find_spec("cvc5") is not None


def second_opinion(text: str, timeout_ms: int = 5_000) -> Answer:
    """What cvc5 says of an SMT-LIB 2 text with one ``(check-sat)``.

    Args:
        text: as from :func:`export`.
        timeout_ms: time for the answer [ms]; ``unknown`` once it is over.

    Raises:
        BadInput: if cvc5 is not installed, if it cannot read the text, or if the text asks nothing.
    """
    _TIME.check("timeout_ms", timeout_ms)
    if not has_second_solver():
        raise BadInput("second opinion", "no cvc5", "the solver cvc5", "pip install 'argprod[second-opinion]'")
    # cvc5 turns an answer other than the expected one into an error, and we want the answer.
    text = re.sub(r"^\(set-info :status \w+\)\n", "", text, flags=re.MULTILINE)
    command = [sys.executable, "-P", str(Path(__file__).with_name("ask_cvc5.py")), str(timeout_ms)]
    try:
        done = subprocess.run(
            command, input=text, capture_output=True, text=True, timeout=_START_S + 2e-3 * timeout_ms, check=False
        )
    except subprocess.TimeoutExpired:
        return "unknown"
    if done.returncode or "(error" in done.stdout:
        raise BadInput("SMT-LIB text", text[:60], "a text that cvc5 reads", (done.stdout + done.stderr).strip()[-200:])
    # An answer may be followed by its reason, as in `unknown (TIMEOUT)`.
    answers = [answer for word in done.stdout.split() for answer in ANSWERS if word == answer]
    if len(answers) != 1:
        raise BadInput("SMT-LIB text", text[:60], "a text with one (check-sat)", done.stdout.strip()[:200])
    return answers[0]
