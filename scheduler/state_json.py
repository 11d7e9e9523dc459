"""The JSON form of a state: what ``argprod detect`` reads, what counterexamples are saved as.

    {"now_s", "policy",
     "request": {"prompt_tokens", "expected_output_tokens", "block_tokens", "class"},
     "instances": [{"id", "running", "waiting", "queued_prefill_tokens", "hit_tokens", ...}],
     "traffic": [{"class", "share", "work_share", "window_requests", "holders": [id]}]}

Required: ``request.prompt_tokens`` and of each instance ``id`` and the four columns above. Every other column of
:class:`scheduler.state.ClusterState` is optional, but if one instance gives it, all must. A wrong type, a value outside
its domain, a duplicate id and an unknown field are errors that name the field, the value and what was expected. Only
one mistake goes unseen: of a field that an object gives twice, the last counts.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from scheduler.domains import INSTANCE_DOMAINS, REQUEST_DOMAINS, TIME_DOMAIN, Domain
from scheduler.errors import BadInput, unknown_name
from scheduler.state import REQUIRED_COLUMNS, ClusterState, Request, checked_hits
from scheduler.traffic import ClassTraffic

_SHARE = Domain(0, 1, unit="share of the traffic", typical_high=1)
_WINDOW = Domain(0, 2**40, integer=True, unit="request")
_REQUEST_FIELDS = {"prompt_tokens", "expected_output_tokens", "block_tokens", "class"}
_TRAFFIC_FIELDS = {"class", "share", "work_share", "window_requests", "holders"}


class StateFile(msgspec.Struct, frozen=True, kw_only=True):
    """One state with the request at hand and what is known of the traffic."""

    state: ClusterState
    request: Request
    policy: str | None = None
    traffic: tuple[ClassTraffic, ...] = ()


def read_state(data: bytes | str) -> StateFile:
    """Read one JSON object; ``docs/formats.md`` lists its fields with units and domains.

    Raises:
        BadInput: naming the field, the value and what was expected.

    Example:
        >>> text = '''{"request": {"prompt_tokens": 160}, "instances": [{"id": "a", "running": 1, "waiting": 0,
        ...            "queued_prefill_tokens": 0, "hit_tokens": 128}]}'''
        >>> read_state(text).state.hit_tokens
        (128,)
    """
    try:
        return state_from(msgspec.json.decode(data))
    except (msgspec.DecodeError, UnicodeError) as fault:
        raise BadInput("state", _shown(data), "one JSON object", str(fault)) from None
    except RecursionError:
        raise BadInput("state", _shown(data), "one JSON object", "it is nested too deeply") from None


def _shown(data: bytes | str) -> str:
    return data[:80] if isinstance(data, str) else data[:80].decode("utf-8", "replace")


def read_states(data: bytes | str) -> list[StateFile]:
    r"""Read one JSON object, or one a line; empty lines are skipped.

    Raises:
        BadInput: naming the line (from 1, if there are several objects), the field, the value and what was expected.

    Example:
        >>> line = write_state(read_state('''{"request": {"prompt_tokens": 160}, "instances": [{"id": "a",
        ...            "running": 1, "waiting": 0, "queued_prefill_tokens": 0, "hit_tokens": 128}]}'''))
        >>> len(read_states(line)), len(read_states(line + b"\n" + line))
        (1, 2)
    """
    raw = data.encode("utf-8", "surrogatepass") if isinstance(data, str) else data
    lines = [(number, line) for number, line in enumerate(raw.split(b"\n"), 1) if line.strip()]
    # An object that is written over several lines does not end on its first.
    if len(lines) < 2 or not lines[0][1].strip().endswith(b"}"):
        return [read_state(raw)]
    try:
        msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return [_read_line(number, line) for number, line in lines]
    return [read_state(raw)]


def _read_line(number: int, line: bytes) -> StateFile:
    try:
        return read_state(line)
    except BadInput as fault:
        raise BadInput(f"line {number}: {fault.field}", fault.value, fault.expected, fault.hint) from None


def state_from(value: Any) -> StateFile:
    """The same from a decoded value."""
    fields = _object("state", value, {"now_s", "policy", "request", "instances", "traffic"})
    request = _request(fields.get("request"))
    state = _state(fields.get("instances"), _number("now_s", fields.get("now_s", 0.0), TIME_DOMAIN))
    checked_hits(state, request)
    policy = fields.get("policy")
    if policy is not None and not isinstance(policy, str):
        raise BadInput("policy", policy, "the name of a policy")
    places = {name: index for index, name in enumerate(state.ids)}
    rows = _list("traffic", fields.get("traffic", []))
    traffic = tuple(_traffic(f"traffic[{i}]", row, places) for i, row in enumerate(rows))
    return StateFile(state=state, request=request, policy=policy, traffic=traffic)


def write_state(file: StateFile) -> bytes:
    """The JSON form; :func:`read_state` gives back an equal value, but for the request.

    Of the request only lengths and class are part of the form: its id and arrival read back as 0, and its keys,
    session and true output length not at all.
    """
    state, request = file.state, file.request
    columns = [name for name in INSTANCE_DOMAINS if getattr(state, name) is not None]
    wanted: dict[str, Any] = {
        "prompt_tokens": request.prompt_tokens,
        "block_tokens": request.block_tokens,
        "expected_output_tokens": request.expected_output_tokens,
        "class": request.group or None,
    }
    value: dict[str, Any] = {
        "now_s": state.now_s,
        "policy": file.policy,
        "request": {name: entry for name, entry in wanted.items() if entry is not None},
        "instances": [
            {"id": name, **{column: getattr(state, column)[i] for column in columns}}
            for i, name in enumerate(state.ids)
        ],
        "traffic": [
            {
                "class": row.name,
                "share": row.share,
                "work_share": row.work_share,
                "window_requests": row.window_requests,
                "holders": [state.ids[i] for i in row.holders],
            }
            for row in file.traffic
        ],
    }
    return msgspec.json.encode({name: entry for name, entry in value.items() if entry not in (None, [])})


def _request(value: Any) -> Request:
    fields = _object("request", value, _REQUEST_FIELDS)
    numbers = {
        name: _number(f"request.{name}", fields[name], REQUEST_DOMAINS[name])
        for name in ("prompt_tokens", "expected_output_tokens", "block_tokens")
        if fields.get(name) is not None
    }
    if "prompt_tokens" not in numbers:
        raise BadInput("request.prompt_tokens", None, REQUEST_DOMAINS["prompt_tokens"].describe())
    group = fields.get("class")
    return Request(id=0, arrival_s=0.0, group="" if group is None else _text("request.class", group), **numbers)


def _state(value: Any, now_s: float) -> ClusterState:
    rows = _list("instances", value)
    allowed = {"id", *INSTANCE_DOMAINS}
    fields = [_object(f"instances[{i}]", row, allowed) for i, row in enumerate(rows)]
    columns: dict[str, tuple[Any, ...] | None] = {}
    for name, domain in INSTANCE_DOMAINS.items():
        given = [row.get(name) is not None for row in fields]
        if name not in REQUIRED_COLUMNS and not any(given):
            columns[name] = None
            continue
        if not all(given):
            hint = "" if name in REQUIRED_COLUMNS else "another instance gives it"
            raise BadInput(f"instances[{given.index(False)}].{name}", None, domain.describe(), hint)
        columns[name] = tuple(_number(f"instances[{i}].{name}", row[name], domain) for i, row in enumerate(fields))
    ids = tuple(_text(f"instances[{i}].id", row.get("id")) for i, row in enumerate(fields))
    return ClusterState(ids=ids, now_s=now_s, **columns).checked()  # type: ignore[arg-type]


def _traffic(place: str, value: Any, places: Mapping[str, int]) -> ClassTraffic:
    fields = _object(place, value, _TRAFFIC_FIELDS)
    holders = []
    for i, name in enumerate(_list(f"{place}.holders", fields.get("holders", []))):
        if _text(f"{place}.holders[{i}]", name) not in places:
            raise BadInput(f"{place}.holders[{i}]", name, "the id of an instance")
        if places[name] in holders:
            raise BadInput(f"{place}.holders[{i}]", name, "each instance once")
        holders.append(places[name])
    return ClassTraffic(
        name=_text(f"{place}.class", fields.get("class")),
        share=_number(f"{place}.share", fields.get("share"), _SHARE),
        work_share=_optional(f"{place}.work_share", fields.get("work_share"), _SHARE),
        window_requests=_optional(f"{place}.window_requests", fields.get("window_requests"), _WINDOW),
        holders=tuple(holders),
    )


def _object(field: str, value: Any, allowed: set[str]) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise BadInput(field, value, "a JSON object")
    for name in value:
        if name not in allowed:
            raise unknown_name(f"{field}: field", name, allowed)
    return value


def _list(field: str, value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise BadInput(field, value, "a JSON array")
    return value


def _text(field: str, value: Any) -> str:
    if not isinstance(value, str):
        raise BadInput(field, value, "a text")
    return value


def _number(field: str, value: Any, domain: Domain) -> Any:
    checked = domain.check(field, value)
    return int(checked) if domain.integer else checked


def _optional(field: str, value: Any, domain: Domain) -> Any:
    return None if value is None else _number(field, value, domain)
