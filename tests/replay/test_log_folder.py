"""What makes a run another one, and that it is named; what is noted only makes none."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from replay.log_folder import differences, digest_of
from replay.run_log import Header
from tests.replay.test_run import request, traces

NAMES = st.sampled_from(("a", "b", "c"))
VALUES = st.none() | st.booleans() | st.integers(0, 3) | st.lists(st.integers(0, 1), max_size=2)
SETTINGS = st.dictionaries(NAMES, VALUES | st.dictionaries(NAMES, VALUES, max_size=2), max_size=3)


def header(settings: dict[str, Any], noted: dict[str, Any] | None = None, **more: Any) -> Header:
    given = {"policy": "lmetric", "instances": ("0", "1"), "settings": settings, "noted": noted or {}, **more}
    return Header(**given)


def read_again(one: Header) -> Header:
    """As a log gives it back."""
    return msgspec.json.decode(msgspec.json.encode(one), type=Header)


@given(SETTINGS, SETTINGS, SETTINGS, SETTINGS, st.integers(0, 9))
def test_runs_differ_as_their_settings_do_and_by_nothing_that_is_noted(
    one: dict[str, Any], two: dict[str, Any], noted: dict[str, Any], other: dict[str, Any], seed: int
) -> None:
    def without_empty(value: Any) -> Any:
        return {name: without_empty(v) for name, v in value.items() if v != {}} if isinstance(value, dict) else value

    was = read_again(header(one, noted, prompt_seed=seed))
    assert differences(was, header(one, other)) == []
    assert (differences(was, header(two, noted)) == []) is (without_empty(one) == without_empty(two))


def test_who_runs_where_is_part_of_the_run() -> None:
    was = read_again(header({}))
    assert differences(was, header({}, instances=("1", "0"))) == ["instances ['0', '1'] there, ['1', '0'] here"]
    assert differences(was, header({}, policy="random")) == ["policy 'lmetric' there, 'random' here"]
    assert differences(was, header({"threads": 2})) == ["threads nothing there, 2 here"]


def test_other_requests_are_told_by_what_shaped_them() -> None:
    was, now = ({"source": {"text": text, "limit": limit}} for text, limit in (("a.jsonl", None), ("./a.jsonl", 3)))
    requests = [request(number) for number in range(4)]
    old, new = header({"requests": digest_of(requests)}, was), header({"requests": digest_of(requests[:3])}, now)
    assert differences(read_again(old), new) == ["text 'a.jsonl' there, './a.jsonl' here", "limit None there, 3 here"]
    same = header({"requests": digest_of(requests)}, now)
    assert differences(read_again(old), same) == []  # the path of a trace is not what is measured
    piped = header({"requests": digest_of(requests[:3])}, was)
    assert differences(read_again(old), piped) == ["the requests are others there"]


@given(traces())
def test_the_digest_of_requests_is_that_of_each_and_of_their_order(requests: list[Any]) -> None:
    assert digest_of(requests) == digest_of(list(requests))
    assert digest_of(requests) != digest_of([*requests, request(10**6)])
    if len(requests) > 1:
        assert digest_of(requests) != digest_of(requests[::-1])
