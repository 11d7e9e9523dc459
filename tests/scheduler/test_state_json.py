"""The JSON form of a state: round trip, and errors that name field, value and domain."""

import json
import re
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler import BadInput, ClusterState, Request, StateFile, read_state, read_states, write_state
from scheduler.domains import INSTANCE_DOMAINS
from scheduler.testing.insane import class_traffic
from scheduler.testing.strategies import situations
from scheduler.traffic import TRAFFIC_DOMAINS


@given(situations(complete=False, loose=True), st.none() | st.just("lmetric"), st.data())
def test_writing_and_reading_gives_the_same_state(
    situation: tuple[ClusterState, Request], policy: str | None, data: st.DataObject
) -> None:
    state, drawn = situation
    state = msgspec.structs.replace(state, now_s=max([state.now_s, *(state.updated_s or ())]))
    request = Request(
        id=0,
        arrival_s=0.0,
        prompt_tokens=drawn.prompt_tokens,
        block_tokens=drawn.block_tokens,
        expected_output_tokens=drawn.expected_output_tokens,
        group="chat",
    )
    traffic = data.draw(class_traffic(len(state)))
    file = StateFile(state=state, request=request, policy=policy, traffic=traffic)
    assert read_state(write_state(file)) == file


def valid() -> dict[str, Any]:
    """A small valid file."""
    row = {"running": 1, "waiting": 0, "queued_prefill_tokens": 10, "hit_tokens": 16}
    return {"request": {"prompt_tokens": 32}, "instances": [{"id": "a", **row}, {"id": "b", **row}]}


def change(path: list[Any], value: Any) -> dict[str, Any]:
    """The valid file with one value changed; `...` removes the field."""
    root = valid()
    place: Any = root
    for step in path[:-1]:
        place = place[step]
    if value is ...:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    return root


@pytest.mark.parametrize(
    ("path", "value", "parts"),
    [
        (["instances", 1, "running"], -1, ["instances[1].running", ">= 0", "got -1"]),
        (["instances", 1, "running"], 1.5, ["instances[1].running", "an integer", "1.5"]),
        (["instances", 1, "running"], True, ["instances[1].running", "an integer", "True"]),
        (["instances", 1, "running"], "3", ["instances[1].running", "'3'"]),
        (["instances", 0, "hit_tokens"], ..., ["instances[0].hit_tokens", "it is missing"]),
        (["instances", 1, "id"], "a", ["instances[1].id", "an id no other instance has"]),
        (["instances", 1, "id"], 7, ["instances[1].id", "a text", "7"]),
        (["instances", 1, "runing"], 3, ["instances[1]: field", "runing", "nearest: running"]),
        (["instances", 1, "kv_used_fraction"], 0.5, ["instances[0].kv_used_fraction", "another instance gives it"]),
        (["instances"], [], ["instances", "at least one instance"]),
        (["instances"], {}, ["instances", "a JSON array"]),
        (["request", "prompt_tokens"], 0, ["request.prompt_tokens", ">= 1", "got 0"]),
        (["request", "prompt_tokens"], ..., ["request.prompt_tokens", "it is missing"]),
        (["request", "class"], 0, ["request.class", "a text", "got 0"]),
        (["request", "class"], [], ["request.class", "a text"]),
        (["request", "prompt"], 3, ["request: field", "nearest: prompt_tokens"]),
        (["traffic"], [{"class": "c", "share": 0.5, "holder": []}], ["traffic[0]: field", "nearest: holders"]),
        (["traffic"], [{"class": "c", "share": 0.5, "work_share": 2}], ["traffic[0].work_share", "<= 1"]),
        (["traffic"], [{"class": "c", "share": 0.5, "holders": [["a"]]}], ["traffic[0].holders[0]", "a text"]),
        (["now_s"], -1, ["now_s", ">= 0"]),
        (["policy"], 3, ["policy", "3"]),
        (["traffic"], [{"class": "c", "share": 1.5}], ["traffic[0].share", "<= 1", "1.5"]),
        (["traffic"], [{"class": "c", "share": 0.5, "holders": ["z"]}], ["traffic[0].holders[0]", "'z'"]),
        (["traffic"], [{"class": "c", "share": 0.5, "holders": ["a", "a"]}], ["holders[1]", "each instance once"]),
        (["traffic"], [{"class": "c", "share": 0.5, "applies": 1}], ["traffic[0].applies", "true, false or null"]),
        (["traffic"], [{"class": "c"}], ["traffic[0].share", "it is missing"]),
        (["traffic"], [{"class": "c", "share": None}], ["traffic[0].share", "got None"]),
        (["traffic"], [{"share": 0.5}], ["traffic[0].class", "it is missing"]),
        (["request"], ..., ["request: expected a JSON object, it is missing"]),
        (["instances"], ..., ["instances: expected a JSON array, it is missing"]),
        (["instances", 1, "id"], ..., ["instances[1].id", "it is missing"]),
    ],
)
def test_an_error_names_field_value_and_domain(path: list[Any], value: Any, parts: list[str]) -> None:
    with pytest.raises(BadInput) as caught:
        read_state(msgspec.json.encode(change(path, value)))
    for part in parts:
        assert part in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "NaN", '{"now_s": NaN}', "\x00", b"\xff\xfe", "[" * 100_000, '{"a":' * 900]
)
def test_what_is_not_a_json_object_is_refused(text: str | bytes) -> None:
    with pytest.raises(BadInput):
        read_state(text)


PRETTY = msgspec.json.format(msgspec.json.encode(valid()), indent=2).decode()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "the input is empty"),
        (b" \n", "the input is empty"),
        (json.dumps(change(["now_s"], float("nan"))), "NaN and Infinity are not JSON"),
        (json.dumps(change(["now_s"], float("-inf"))).encode(), "NaN and Infinity are not JSON"),
        (PRETTY + "\n" + PRETTY, "one state a line"),
    ],
)
def test_what_is_often_wrong_with_a_file_is_said(text: str | bytes, said: str) -> None:
    with pytest.raises(BadInput, match=f"state: expected one JSON object.*{said}"):
        read_states(text)


def test_a_byte_order_mark_is_skipped() -> None:
    line = msgspec.json.encode(valid())
    mark = b"\xef\xbb\xbf"
    assert read_state(mark + line) == read_state((mark + line).decode()) == read_state(line)
    assert read_states(mark + line + b"\n" + line) == read_states((mark + line + b"\n" + line).decode())


def test_of_a_saved_counterexample_its_state_is_read() -> None:
    saved = {"state": valid(), "policy": "linear", "provenance": {}, "safe_twin": {}, "expected_findings": []}
    assert read_states(json.dumps(saved)) == [read_state(json.dumps(valid()))]
    with pytest.raises(BadInput, match=r"instances\[1\]\.running"):
        read_state(json.dumps(saved | {"state": change(["instances", 1, "running"], -1)}))
    with pytest.raises(BadInput, match="state: field"):
        read_state(json.dumps({"state": valid()}))


def test_numbers_from_the_future_are_refused_in_a_file_and_the_clock_is_named() -> None:
    value = valid()
    for row, updated_s in zip(value["instances"], (1.0, 2.5), strict=True):
        row["updated_s"] = updated_s
    assert read_state(json.dumps(value | {"now_s": 2.5})).state.updated_s == (1.0, 2.5)
    with pytest.raises(
        BadInput, match=r"instances\[1\]\.updated_s: expected at most now_s, 2 .*got 2\.5 \(instance 'b'\)"
    ):
        read_state(json.dumps(value | {"now_s": 2}))
    with pytest.raises(BadInput, match=r"instances\[0\]\.updated_s.*now_s is left out"):
        read_state(json.dumps(value))


@pytest.mark.parametrize("name", list(INSTANCE_DOMAINS))
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -1, True])
def test_a_state_built_in_process_is_checked_by_the_same_domains(name: str, bad: Any) -> None:
    columns: dict[str, Any] = {
        "running": (0, 0),
        "waiting": (0, 0),
        "queued_prefill_tokens": (0, 0),
        "hit_tokens": (0, 0),
    }
    columns[name] = (1, bad)
    with pytest.raises(BadInput, match=rf"instances\[1\]\.{name}"):
        ClusterState(ids=("a", "b"), **columns).checked()


def test_columns_of_unequal_length_are_refused() -> None:
    with pytest.raises(BadInput, match="waiting: expected 2 values"):
        ClusterState(
            ids=("a", "b"), running=(0, 0), waiting=(0,), queued_prefill_tokens=(0, 0), hit_tokens=(0, 0)
        ).checked()


def test_a_whole_float_becomes_an_integer() -> None:
    read = read_state(msgspec.json.encode(change(["instances", 0, "running"], 3.0)))
    assert (read.state.running, type(read.state.running[0])) == ((3, 1), int)


def test_states_one_a_line_or_one_over_several_lines() -> None:
    line = msgspec.json.encode(valid())
    several = msgspec.json.format(line, indent=2)
    assert b"\n" in several
    assert read_states(several) == read_states(line) == [read_state(line)]
    assert read_states(line + b"\n\n" + line + b"\r\n") == [read_state(line)] * 2
    bad = msgspec.json.encode(change(["instances", 1, "running"], -1))
    with pytest.raises(BadInput, match=r"line 3: instances\[1\]\.running"):
        read_states(line + b"\n\n" + bad)
    with pytest.raises(BadInput, match="state: expected one JSON object"):
        read_states("")


@pytest.mark.parametrize("name", list(TRAFFIC_DOMAINS))
@pytest.mark.parametrize("bad", [-1, "1", True, [], 1e300])
def test_what_is_known_of_a_class_is_checked_by_its_domains(name: str, bad: Any) -> None:
    row = {"class": "c", "share": 0.5, name: bad}
    with pytest.raises(
        BadInput, match=rf"traffic\[0\]\.{name}: expected {re.escape(TRAFFIC_DOMAINS[name].describe())}"
    ):
        read_state(msgspec.json.encode(change(["traffic"], [row])))


@pytest.mark.parametrize(
    ("old", "new", "field"),
    [
        ('"running":1,', '"running":1,"running":2,', "field 'running'"),
        ('"request":{', '"request":{"prompt_tokens":16},"request":{', "field 'request'"),
        ('{"prompt_tokens":32}', '{"prompt_tokens":32,"prompt_tokens":32}', "field 'prompt_tokens'"),
    ],
)
def test_a_field_that_is_given_twice_is_refused(old: str, new: str, field: str) -> None:
    text = msgspec.json.encode(valid()).decode()
    assert old in text
    with pytest.raises(BadInput, match=f"{field}: expected each field of an object once"):
        read_states(text.replace(old, new, 1))


HUGE = "9" * 5000


@pytest.mark.parametrize("number", [HUGE, f"-{HUGE}", f"1e{HUGE}", f"{HUGE}.5", "1e400"])
def test_numbers_of_thousands_of_digits_are_refused_in_one_line(number: str) -> None:
    for old in ('"running":1', '"prompt_tokens":32'):
        text = msgspec.json.encode(valid()).decode().replace(old, old.split(":")[0] + ":" + number)
        with pytest.raises(BadInput) as caught:
            read_states(text)
        assert len(str(caught.value)) < 400


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


def answered(data: bytes | str) -> None:
    """Either states, all sane, or a clear error on one line."""
    try:
        files = read_states(data)
    except BadInput as fault:
        message = str(fault)
        assert ": expected " in message
        assert len(message.splitlines()) == 1
        return
    for file in files:
        assert file.state.checked() == file.state
        assert read_state(write_state(file)) == file


@given(st.binary(max_size=200) | st.text(max_size=200))
def test_any_bytes_are_read_or_refused(data: bytes | str) -> None:
    answered(data)


PATHS = [
    ["now_s"], ["policy"], ["request"], ["instances"], ["traffic"], ["request", "prompt_tokens"], ["request", "class"],
    ["request", "block_tokens"], ["instances", 0], ["instances", 1, "id"], ["instances", 1, "running"],
    ["instances", 0, "hit_tokens"], ["instances", 0, "updated_s"], ["unknown"],
]  # fmt: skip


@given(st.sampled_from(PATHS), JSON_VALUES)
def test_any_json_in_any_place_is_read_or_refused(path: list[Any], value: Any) -> None:
    answered(json.dumps(change(path, value)))


@given(st.data())
def test_a_damaged_file_is_read_or_refused(data: st.DataObject) -> None:
    text = bytearray(msgspec.json.encode(valid()))
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(text) - 1))
        text[place : place + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    answered(bytes(text))
