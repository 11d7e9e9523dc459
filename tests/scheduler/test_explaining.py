"""What a decision says of itself: the explanation for people and the line for a log, word by word."""

from __future__ import annotations

from typing import Any

import msgspec

from scheduler import Request, Router
from scheduler.explaining import number_text
from scheduler.routed import Routed


def asked(number: int) -> Request:
    return Request(id=number, arrival_s=0.0, prompt_tokens=1024, block_keys=(11, 12))


def decided(policy: str = "lmetric", lines: list[bytes] | None = None) -> Routed:
    """The fifth request of one class, which one of two instances holds; the other idles."""
    sink: Any = None if lines is None else lines.append
    router = Router(["a", "b"], policy, ties="first", clock=lambda: 0.0, log_sink=sink)
    router.route(asked(1))
    router.first_token(1)
    return [router.route(asked(number)) for number in range(2, 6)][-1]


def test_a_decision_explains_itself() -> None:
    assert decided().explain() == "\n".join(
        [
            "instance  run  wait  queued  hit   P     B  score  taken by",
            "a         1    3     3       1024  4     5  20     lmetric marginal_delay linear",
            "b         0    0     0       0     1024  1  1024   join_shortest_queue",
            "lmetric takes a, the next score is 51.2 times as high",
            (
                "info: cold_instance_starvation: b idles without cache while a with 4 residents is taken; "
                "nothing of this class goes to b until a has 256 residents, and likewise every other warm instance. "
                "Send b a fair share to warm it, or copy the prefix to it. (claim cold_instance_starvation)"
            ),
        ]
    )


def test_where_nothing_is_found_and_no_margin_is_known_it_says_so() -> None:
    router = Router(["a"], "round_robin", clock=lambda: 0.0)
    told = router.route(asked(1)).explain().splitlines()
    assert told[-2:] == ["round_robin:ties=random takes a", "nothing found"]


def test_a_mitigation_says_where_to_at_what_price_and_why() -> None:
    router = Router(["a", "b"], "lmetric", ties="first", clock=lambda: 0.0, mitigation="probe_cold")
    router.route(asked(1))
    router.first_token(1)
    routed = router.route(asked(2))
    assert (routed.rule_instance, routed.instance) == ("a", "b")
    last = routed.explain().splitlines()[-1]
    assert last == "mitigation probe_cold: to b, price 1023 tokens: a starved instance gets its fair share"


def test_a_line_of_the_log_tells_all_but_the_prompt() -> None:
    lines: list[bytes] = []
    routed = decided(lines=lines)
    assert lines[-1] == routed.as_line()
    assert lines[-1].endswith(b"}\n")
    assert msgspec.json.decode(lines[-1]) == {
        "request": 5,
        "at_s": 0.0,
        "policy": "lmetric",
        "instance": "a",
        "rule_instance": "a",
        "prompt_tokens": 1024,
        "hit_tokens": 1024,
        "new_tokens": 1,
        "instances": ["a", "b"],
        "scores": [20, 1024],
        "margin": 50.2,
        "safe": True,
        "findings": [["cold_instance_starvation", "info"]],
        "mitigation": None,
        "price_tokens": 0,
    }


def test_numbers_are_written_for_a_table() -> None:
    told = {None: "-", True: "yes", False: "no", 12: "12", 0.123456: "0.1235", "text": "text", (2, None): "2, -"}
    assert [number_text(value) for value in told] == list(told.values())
    assert number_text([1.0, (2.5, 3)]) == "1, 2.5, 3"
