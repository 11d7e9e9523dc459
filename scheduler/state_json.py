"""The JSON form of a state: what ``argprod detect`` reads, what counterexamples are saved as.

    {"now_s", "policy",
     "request": {"prompt_tokens", "expected_output_tokens", "block_tokens", "class"},
     "instances": [{"id", "running", "waiting", "queued_prefill_tokens", "hit_tokens", ...}],
     "traffic": [{"class", "share", "work_share", "window_requests", "resident_requests", "holders": [id],
                  "prefix_tokens", "streak", "copies_missing", "applies", "alarmed"}]}

Required: ``request.prompt_tokens`` and of each instance ``id`` and the four columns above. Every other column of
:class:`scheduler.state.ClusterState` is optional, but if one instance gives it, all must. A wrong type, a value outside
its domain, a duplicate id, an unknown field, a field that is given twice and numbers that are newer than ``now_s`` are
errors that name the field, the value and what was expected. Of a saved counterexample its field ``state`` is read.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from typing import Any

import msgspec

from scheduler.domains import INSTANCE_DOMAINS, REQUEST_DOMAINS, TIME_DOMAIN, Domain
from scheduler.errors import Absent, BadInput, shown, unknown_name
from scheduler.sane import sane_column, sane_state
from scheduler.state import REQUIRED_COLUMNS, ClusterState, Request, checked_hits
from scheduler.traffic import TRAFFIC_DOMAINS, TRAFFIC_FLAGS, ClassTraffic

_REQUEST_FIELDS = {"prompt_tokens", "expected_output_tokens", "block_tokens", "class"}
_TRAFFIC_FIELDS = {"class", *TRAFFIC_DOMAINS, "holders", *TRAFFIC_FLAGS}
#: Only a saved counterexample has both.
_SAVED_FIELDS = {"state", "provenance"}
_BYTE_ORDER_MARK = "\ufeff"


class StateFile(msgspec.Struct, frozen=True, kw_only=True):
    """One state with the request at hand and what is known of the traffic."""

    state: ClusterState
    request: Request
    policy: str | None = None
    traffic: tuple[ClassTraffic, ...] = ()


def read_state(data: bytes | str) -> StateFile:
    """Read one JSON object; ``docs/formats.md`` lists its fields with units and domains.

    Args:
        data: a state, or a saved counterexample, of which its state is taken; a byte order mark is skipped.

    Raises:
        BadInput: naming the field, the value and what was expected.

    Example:
        >>> text = '''{"request": {"prompt_tokens": 160}, "instances": [{"id": "a", "running": 1, "waiting": 0,
        ...            "queued_prefill_tokens": 0, "hit_tokens": 128}]}'''
        >>> read_state(text).state.hit_tokens
        (128,)
    """
    data = _unmarked(data)
    try:
        value = msgspec.json.decode(data)
        # Of a field that is given twice msgspec keeps the last without a word. What it has read is known to be valid
        # and shallow, so the slower reader only looks for that.
        json.loads(data, object_pairs_hook=_each_field_once)
        saved = isinstance(value, dict) and value.keys() >= _SAVED_FIELDS
        return state_from(value["state"] if saved else value)
    except (msgspec.DecodeError, UnicodeError) as fault:
        raise BadInput("state", _shown(data), "one JSON object", _reason(data, str(fault))) from None
    except RecursionError:
        raise BadInput("state", _shown(data), "one JSON object", "it is nested too deeply") from None


def _each_field_once(pairs: list[tuple[str, Any]]) -> None:
    """Refuse an object with two fields of one name."""
    seen: set[str] = set()
    for name, value in pairs:
        if name in seen:
            raise BadInput(f"field {shown(name)}", value, "each field of an object once")
        seen.add(name)


def _unmarked(data: bytes | str) -> bytes | str:
    """Without the byte order mark that some editors put first."""
    if isinstance(data, str):
        return data.removeprefix(_BYTE_ORDER_MARK)
    return data.removeprefix(_BYTE_ORDER_MARK.encode())


def _reason(data: bytes | str, fault: str) -> str:
    """Why it cannot be read, where there is more to say than what the reader found."""
    if not data.strip():
        return "the input is empty"
    if "trailing characters" in fault:
        return f"{fault}; several states are given one state a line"
    names: list[str] = []
    with contextlib.suppress(ValueError, RecursionError):
        json.loads(data, parse_constant=names.append)
    return "NaN and Infinity are not JSON; leave out what is not known" if names else fault


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
    data = _unmarked(data)
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
    request = _request(fields.get("request", Absent.MISSING))
    now_s = _number("now_s", fields.get("now_s", 0.0), TIME_DOMAIN)
    state = _state(fields.get("instances", Absent.MISSING), now_s)
    checked_hits(state, request)
    _check_ages(state, given="now_s" in fields)
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
    session and true output length not at all. A state with an ``updated_s`` after its ``now_s`` is not read back.
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
                **{name: getattr(row, name) for name in TRAFFIC_DOMAINS if getattr(row, name) is not None},
                "holders": [state.ids[i] for i in row.holders],
                **{name: getattr(row, name) for name in TRAFFIC_FLAGS if getattr(row, name) is not None},
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
        value = fields.get("prompt_tokens", Absent.MISSING)
        raise BadInput("request.prompt_tokens", value, REQUEST_DOMAINS["prompt_tokens"].describe())
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
            place = given.index(False)
            value = fields[place].get(name, Absent.MISSING)
            raise BadInput(f"instances[{place}].{name}", value, domain.describe(), hint)
        column = tuple([row[name] for row in fields])
        if not sane_column(name, column):
            column = tuple(_number(f"instances[{i}].{name}", value, domain) for i, value in enumerate(column))
        columns[name] = column
    ids = tuple(_text(f"instances[{i}].id", row.get("id", Absent.MISSING)) for i, row in enumerate(fields))
    state = ClusterState(ids=ids, now_s=now_s, **columns)  # type: ignore[arg-type]
    return state if sane_state(state) is not None else state.checked()


def _check_ages(state: ClusterState, *, given: bool) -> None:
    """Numbers cannot be newer than the decision; what is wrong is more often ``now_s``."""
    for i, updated_s in enumerate(state.updated_s or ()):
        if updated_s > state.now_s:
            expected = f"at most now_s, {state.now_s!r} [s]"
            hint = f"instance {shown(state.ids[i])}" + ("" if given else "; now_s is left out and so 0")
            raise BadInput(f"instances[{i}].updated_s", updated_s, expected, hint)


def _traffic(place: str, value: Any, places: Mapping[str, int]) -> ClassTraffic:
    fields = _object(place, value, _TRAFFIC_FIELDS)
    holders = []
    for i, name in enumerate(_list(f"{place}.holders", fields.get("holders", []))):
        if _text(f"{place}.holders[{i}]", name) not in places:
            raise BadInput(f"{place}.holders[{i}]", name, "the id of an instance")
        if places[name] in holders:
            raise BadInput(f"{place}.holders[{i}]", name, "each instance once")
        holders.append(places[name])
    flags = {name: fields.get(name) for name in TRAFFIC_FLAGS}
    for name, flag in flags.items():
        if not (flag is None or isinstance(flag, bool)):
            raise BadInput(f"{place}.{name}", flag, "true, false or null")
    numbers = {
        name: _optional(f"{place}.{name}", fields.get(name), domain)
        for name, domain in TRAFFIC_DOMAINS.items()
        if name != "share"
    }
    return ClassTraffic(
        name=_text(f"{place}.class", fields.get("class", Absent.MISSING)),
        share=_number(f"{place}.share", fields.get("share", Absent.MISSING), TRAFFIC_DOMAINS["share"]),
        holders=tuple(holders),
        **flags,
        **numbers,
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
