"""The JSON form of a state: round trip, and errors that name field, value and domain."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler import BadInput, ClassTraffic, ClusterState, Request, StateFile, read_state, read_states, write_state
from scheduler.domains import INSTANCE_DOMAINS
from scheduler.testing.strategies import situations


@given(situations(complete=False, loose=True), st.none() | st.just("lmetric"), st.floats(0, 1))
def test_writing_and_reading_gives_the_same_state(
    situation: tuple[ClusterState, Request], policy: str | None, share: float
) -> None:
    state, drawn = situation
    request = Request(
        id=0,
        arrival_s=0.0,
        prompt_tokens=drawn.prompt_tokens,
        block_tokens=drawn.block_tokens,
        expected_output_tokens=drawn.expected_output_tokens,
        group="chat",
    )
    traffic = (ClassTraffic(name="a", share=share, work_share=share, window_requests=100, holders=(0,)),)
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
        (["instances", 0, "hit_tokens"], ..., ["instances[0].hit_tokens", "None"]),
        (["instances", 1, "id"], "a", ["instances[1].id", "an id no other instance has"]),
        (["instances", 1, "id"], 7, ["instances[1].id", "a text", "7"]),
        (["instances", 1, "runing"], 3, ["instances[1]: field", "runing", "nearest: running"]),
        (["instances", 1, "kv_used_fraction"], 0.5, ["instances[0].kv_used_fraction", "another instance gives it"]),
        (["instances"], [], ["instances", "at least one instance"]),
        (["instances"], {}, ["instances", "a JSON array"]),
        (["request", "prompt_tokens"], 0, ["request.prompt_tokens", ">= 1", "got 0"]),
        (["request", "prompt_tokens"], ..., ["request.prompt_tokens", "None"]),
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
