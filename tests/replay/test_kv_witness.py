"""Events that are taken for those of another instance are noticed; an instance's own, late ones too, are not."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from replay.engines.kv_witness import PROMPTS_MAX, PROMPTS_MIN, KvWitness, sent_to
from replay.engines.prompts import Prompts
from replay.live_record import Line
from tests.replay.test_run import request

BLOCK = 16
PROMPTS = Prompts(1000, block_tokens=BLOCK)
REQUESTS = {number: request(number, 0.0, tuple(range(100 * number, 100 * number + 8))) for number in range(60)}


def lines(places: Sequence[str]) -> list[Line]:
    return [Line(id=number, instance=place, end="finished") for number, place in enumerate(places)]


def told(places: Sequence[str], heard_as: dict[str, str], late: int = 0) -> list[str]:
    """What is noticed if each instance stores what it was sent, and its events are taken for those of another."""
    passed: list[str] = []
    witness = KvWitness(lambda name, *_: passed.append(name))
    prompts = PROMPTS.salted(7)
    for line in lines(places)[: len(places) - late]:
        seen = prompts.keyed(REQUESTS[line.id], prompts.ids(REQUESTS[line.id]))
        witness(heard_as[line.instance or ""], seen.block_keys, None, ())
    assert passed == [heard_as[place] for place in places[: len(places) - late]]
    return witness.contradictions(sent_to(lines(places), REQUESTS, prompts))


@given(st.lists(st.sampled_from("abc"), max_size=60), st.integers(0, 1))
def test_events_of_the_instance_itself_are_believed(places: list[str], late: int) -> None:
    assert told(places, {name: name for name in "abc"}, min(late, len(places))) == []


@given(st.lists(st.sampled_from("abc"), max_size=60))
def test_swapped_events_are_noticed_as_soon_as_there_are_a_few_prompts(places: list[str]) -> None:
    found = told(places, {"a": "b", "b": "a", "c": "c"})
    enough = {name for name in "ab" if places.count(name) >= PROMPTS_MIN}
    assert {line.split()[3] for line in found} == enough
    if enough == {"a", "b"}:
        whose = {"a": "b", "b": "a"}
        for line in found:
            name = line.split()[3]
            sent, theirs = (min(places.count(one), PROMPTS_MAX) for one in (name, whose[name]))
            assert line == (
                f"KV events of {name} tell of 0 of {sent} prompts that it was sent, and of {theirs} of {theirs} that "
                f"{whose[name]} was sent: are --kv-events in the order of --endpoint?"
            )


def test_a_run_is_not_judged_by_what_was_stored_before_it() -> None:
    witness = KvWitness(lambda *_: None)
    witness("a", tuple(range(9)), None, ())
    witness.forget()
    assert len(witness.contradictions({"a": set(range(9))})) == 1


def test_prompts_that_fill_no_block_or_did_not_finish_say_nothing() -> None:
    short = {1: request(1, prompt_tokens=BLOCK - 1), 2: request(2, prompt_tokens=BLOCK), 3: request(3)}
    ended = [
        *(Line(id=number, instance="a", end="finished") for number in (1, 2)),
        Line(id=3, instance="a", end="failed"),
    ]
    assert {name: len(keys) for name, keys in sent_to([*ended, Line(id=3)], short, PROMPTS).items()} == {"a": 1}
