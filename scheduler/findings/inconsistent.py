"""``inconsistent_input``: the numbers cannot be. Critical, and no choice is given from them.

Numbers of live metrics come in every form: not a number, negative, missing, of unequal length, of the wrong type. Only
if ``scheduler/sane.py`` refuses them is this clear code asked what is wrong. It never raises, whatever it is given.
Claim ``float_product_choice_is_exact``: within the domains the computed order is the true one; outside of them nothing
is claimed.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from scheduler.domains import INSTANCE_DOMAINS, REQUEST_DOMAINS, TIME_DOMAIN, Domain
from scheduler.errors import shown
from scheduler.finding import Finding, Kind, Severity
from scheduler.findings.scene import finding
from scheduler.state import OPTIONAL_COLUMNS, ClusterState
from scheduler.traffic import TRAFFIC_DOMAINS, TRAFFIC_FLAGS, ClassTraffic

#: Within the domains, and only there, the choice that is computed is the one that is proved about.
CLAIM = "float_product_choice_is_exact"
_ADVICE = "Mend where this number comes from; until then route by what is known to be right."
_MISSING = object()


def checked_state(state: Any) -> tuple[Any, list[Finding]]:
    """The state with numbers of other kinds (NumPy) made plain, and what is wrong with it; slow and total."""
    ids, faults = _ids(state)
    if faults:
        return None, faults
    columns: dict[str, Any] = {}
    for name, domain in INSTANCE_DOMAINS.items():
        column = _attribute(state, name)
        if column is None and name in OPTIONAL_COLUMNS:
            columns[name] = None
            continue
        if not isinstance(column, tuple | list) or len(column) != len(ids):
            expected = f"a tuple of {len(ids)} values, one an instance"
            faults.append(insane(name, column if not isinstance(column, tuple | list) else len(column), expected))
            continue
        bad = [index for index, value in enumerate(column) if not _contains(domain, value)]
        if bad:
            field, value = f"instances[{bad[0]}].{name}", column[bad[0]]
            faults.append(insane(field, value, domain.describe(), tuple([ids[index] for index in bad])))
            continue
        columns[name] = tuple([int(value) if domain.integer else float(value) for value in column])
    now_s = _attribute(state, "now_s")
    if not _contains(TIME_DOMAIN, now_s):
        faults.append(insane("now_s", now_s, TIME_DOMAIN.describe()))
    if faults:
        return None, faults
    return ClusterState(ids=ids, now_s=float(now_s), **columns), []


def _ids(state: Any) -> tuple[tuple[str, ...], list[Finding]]:
    """The ids, or what is wrong with them."""
    ids = _attribute(state, "ids")
    if not isinstance(ids, tuple | list):
        if ids is _MISSING:
            return (), [insane("state", state, "a ClusterState, or what has its columns")]
        return (), [insane("ids", ids, "a tuple of texts, one an instance")]
    if not ids:
        return (), [insane("instances", 0, "at least one instance")]
    seen: set[str] = set()
    for index, name in enumerate(ids):
        if not isinstance(name, str):
            return (), [insane(f"instances[{index}].id", name, "a text")]
        if name in seen:
            return (), [insane(f"instances[{index}].id", name, "an id no other instance has", (str(name),))]
        seen.add(name)
    return tuple(ids), []


def request_faults(request: Any, expected_output_tokens: Any = None) -> list[Finding]:
    """What is wrong with a request; slow and total."""
    faults = []
    for name in ("prompt_tokens", "expected_output_tokens", "block_tokens"):
        value = _attribute(request, name)
        if name == "expected_output_tokens" and value is None:
            continue
        if not _contains(REQUEST_DOMAINS[name], value):
            faults.append(insane(f"request.{name}", value, REQUEST_DOMAINS[name].describe()))
    if not isinstance(_attribute(request, "group"), str):
        faults.append(insane("request.group", _attribute(request, "group"), "a text"))
    domain = REQUEST_DOMAINS["expected_output_tokens"]
    if expected_output_tokens is not None and not _contains(domain, expected_output_tokens):
        faults.append(insane("expected_output_tokens", expected_output_tokens, domain.describe()))
    return faults


def hit_faults(state: Any, prompt_tokens: int) -> list[Finding]:
    """Instances that are said to hold more of the prompt than there is."""
    bad = [index for index, hit in enumerate(state.hit_tokens) if hit > prompt_tokens]
    if not bad:
        return []
    expected = f"at most the {prompt_tokens} tokens of the prompt"
    names = tuple([state.ids[index] for index in bad])
    return [insane(f"instances[{bad[0]}].hit_tokens", state.hit_tokens[bad[0]], expected, names)]


def traffic_faults(traffic: Any, count: int) -> list[Finding]:
    """What is wrong with what is known of the classes; total."""
    if not isinstance(traffic, tuple | list):
        return [insane("traffic", traffic, "a sequence of ClassTraffic")]
    return [fault for index, row in enumerate(traffic) for fault in _row_faults(f"traffic[{index}]", row, count)]


def _row_faults(place: str, value: Any, count: int) -> Iterator[Finding]:
    if not isinstance(value, ClassTraffic):
        yield insane(place, value, "a ClassTraffic")
        return
    row: Any = value  # its annotations promise what is checked here
    if not isinstance(row.name, str):
        yield insane(f"{place}.class", row.name, "a text")
    for name, domain in TRAFFIC_DOMAINS.items():
        value = getattr(row, name)
        if not (value is None and name != "share") and not _contains(domain, value):
            yield insane(f"{place}.{name}", value, domain.describe())
    for name in TRAFFIC_FLAGS:
        flag = getattr(row, name)
        if not (flag is None or isinstance(flag, bool)):
            yield insane(f"{place}.{name}", flag, "true, false or null")
    holders: Any = row.holders
    if not isinstance(holders, tuple | list):
        yield insane(f"{place}.holders", holders, "a tuple of indices of instances")
        return
    domain = Domain(0, count - 1, integer=True, unit="index of an instance")
    seen: set[int] = set()
    for index, holder in enumerate(holders):
        if not _contains(domain, holder):
            yield insane(f"{place}.holders[{index}]", holder, domain.describe())
        elif holder in seen:
            yield insane(f"{place}.holders[{index}]", holder, "each instance once")
        else:
            seen.add(holder)


def unreadable(fault: Exception) -> Finding:
    """Something raised while it was read."""
    return insane("state", fault, "numbers that can be read")


def insane(field: str, value: Any, expected: str, instances: tuple[str, ...] = ()) -> Finding:
    """The finding for one field.

    Example:
        >>> insane("now_s", float("nan"), "a finite number").explanation
        'now_s is nan, expected a finite number.'
    """
    text = "missing" if value is _MISSING else shown(value)
    return finding(
        Kind.INCONSISTENT_INPUT,
        Severity.CRITICAL,
        instances,
        f"{field} is {text}, expected {expected}.",
        _ADVICE,
        CLAIM,
        field=field,
        value=text,
        expected=expected,
    )


def _attribute(owner: Any, name: str) -> Any:
    """An attribute, or a mark that it is missing or raises."""
    try:
        return getattr(owner, name, _MISSING)
    except Exception:  # noqa: BLE001 - whatever an object of somebody else does, the answer is that it is missing
        return _MISSING


def _contains(domain: Domain, value: Any) -> bool:
    try:
        return domain.contains(value)
    except Exception:  # noqa: BLE001 - a number that cannot be compared is no number of the domain
        return False
