"""What argprod says to who gives it something wrong, word by word: a call for each message, the messages in a file.

After a wanted change run ``python tests/scheduler/test_golden_errors.py`` and read what git shows.
"""

from __future__ import annotations

import json
import pickle
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from scheduler import ArgprodError, BadInput, ClusterState, Request, Router, RouterConfig, StepTime, decide, policy
from scheduler.accounting import Accounting
from scheduler.detect_config import CONFIG_DOMAINS, DetectConfig
from scheduler.domains import INSTANCE_DOMAINS, REQUEST_DOMAINS, TIME_DOMAIN, Domain
from scheduler.errors import Absent, BadTrace, shown
from scheduler.mitigation import read_mode
from scheduler.monitor import Monitor, MonitorConfig
from scheduler.policies.compiled import compile_keys
from scheduler.policies.rule import Rule
from scheduler.slots import Slots
from scheduler.state_json import read_state, read_states
from scheduler.traffic import TRAFFIC_DOMAINS

FILE = Path(__file__).with_suffix(".txt")
DOMAINS = FILE.with_name("golden_domains.txt")
ROW: dict[str, Any] = {"running": 1, "waiting": 0, "queued_prefill_tokens": 10, "hit_tokens": 16}
PAIR = [{"id": "a", **ROW}, {"id": "b", **ROW}]


def file(**changes: Any) -> str:
    """A small state as JSON, changed."""
    return json.dumps({"request": {"prompt_tokens": 32}, "instances": PAIR, **changes})


def with_row(**changes: Any) -> str:
    """The same with another second instance; None takes a field away."""
    row = {name: value for name, value in {**PAIR[1], **changes}.items() if value is not None}
    return file(instances=[PAIR[0], row])


def with_class(**changes: Any) -> str:
    return file(traffic=[{"class": "c", "share": 0.5, **changes}])


def request(**changes: Any) -> Request:
    return Request(**{"id": 1, "arrival_s": 0.0, "prompt_tokens": 1024, **changes})


def router(**changes: Any) -> Router:
    return Router(**{"instances": ["a", "b"], "clock": lambda: 1.0, **changes})


def state(**changes: Any) -> ClusterState:
    columns = {"running": (1, 0), "waiting": (0, 0), "queued_prefill_tokens": (0, 0), "hit_tokens": (0, 0)}
    return ClusterState(**{"ids": ("a", "b"), **columns, **changes})


def made(kind: Any, name: str, value: Any) -> Any:
    return kind(**{name: value})


def checked(kind: Any, name: str, value: Any) -> Any:
    return made(kind, name, value).checked()


def snapshot() -> bytes:
    it = router()
    it.route(request())
    return it.snapshot()


class Sour:
    """Nothing can be done with it."""

    def __repr__(self) -> str:
        raise RuntimeError

    def __eq__(self, other: object) -> bool:
        raise RuntimeError

    __hash__ = object.__hash__


JSON: dict[str, str] = {
    "nothing": "",
    "spaces": "  ",
    "an open brace": "{",
    "no JSON": "x" * 100,
    "not a number": file(now_s=float("nan")),
    "several states at once": file() + file(),
    "a number": "3",
    "nested too deeply": "[" * 100000 + "]" * 100000,
    "a field twice": '{"now_s": 1, "now_s": 2}',
    "an unknown field": file(sate=1),
    "no request": '{"instances": []}',
    "no instances": '{"request": {"prompt_tokens": 3}}',
    "a policy that is no text": file(policy=3),
    "instances as an object": file(instances={}),
    "no instance": file(instances=[]),
    "an instance as a list": file(instances=[[]]),
    "a request as a list": file(request=[]),
    "no prompt": file(request={}),
    "prompt null": file(request={"prompt_tokens": None}),
    "a class that is no text": file(request={"prompt_tokens": 1, "class": 3}),
    "an unknown field of the request": file(request={"prompt": 3}),
    "a time before all": file(now_s=-1),
    "a time as text": file(now_s="now"),
    "no id": with_row(id=None),
    "an id that is no text": with_row(id=7),
    "an id twice": with_row(id="a"),
    "a required column is missing": with_row(running=None),
    "an optional column is missing": with_row(context_tokens=4),
    "an unknown column": with_row(runing=1),
    "half a request": with_row(running=0.5),
    "true": with_row(running=True),
    "huge": with_row(running=10**400),
    "more cached than there is": with_row(hit_tokens=33),
    "newer than now": file(instances=[{**row, "updated_s": 5} for row in PAIR]),
    "newer than now that is told": file(now_s=4, instances=[{**row, "updated_s": 5} for row in PAIR]),
    "traffic as an object": file(traffic={}),
    "a class as a number": file(traffic=[3]),
    "a class without name": file(traffic=[{"share": 0.5}]),
    "a class without share": file(traffic=[{"class": "c"}]),
    "a share above 1": with_class(share=1.5),
    "a holder that is none": with_class(holders=["z"]),
    "a holder twice": with_class(holders=["a", "b", "a"]),
    "holders as text": with_class(holders="a"),
    "a holder as a number": with_class(holders=[3]),
    "a flag that is none": with_class(applies=1),
    "an unknown field of a class": with_class(holder=[]),
    "a streak below 0": with_class(streak=-1),
}

CALLS: dict[str, Callable[[], Any]] = {
    **{f"a state: {name}": partial(read_state, text) for name, text in JSON.items()},
    "states: the third line": lambda: read_states("\n".join([file(), "", file(now_s=-1)])),
    "states: bytes that are no text": lambda: read_states(b"\xff\xfe{}"),
    # ---- settings
    **{
        f"detect: {name}": partial(made, DetectConfig, name, domain.low - 1)
        for name, domain in CONFIG_DOMAINS.items()
    },
    "detect: an error of 0": lambda: DetectConfig(error=0),
    "detect: harm as text": lambda: DetectConfig(harm_allowed="2"),  # type: ignore[arg-type]
    "detect: a policy as a number": lambda: DetectConfig(policy=3),  # type: ignore[arg-type]
    "detect: an unknown policy": lambda: DetectConfig(policy="lmetrik"),
    "detect: weights as a list": lambda: DetectConfig(weight_range=[1, 2]),  # type: ignore[arg-type]
    "detect: one weight": lambda: DetectConfig(weight_range=(1,)),  # type: ignore[arg-type]
    "detect: weights in the wrong order": lambda: DetectConfig(weight_range=(2, 1)),
    "detect: a weight below 0": lambda: DetectConfig(weight_range=(-1, 1)),
    **{
        f"monitor: {name} = {value}": partial(checked, MonitorConfig, name, value)
        for name, value in {
            "window_max": 0, "window_min": 0, "error": 0, "levels": 0, "imbalance_allowed": 0.5, "imbalance_left": 0.5,
            "union_every": 0, "union_masks": 0,
        }.items()
    },
    "monitor: a window longer than the longest": lambda: MonitorConfig(window_max=64, window_min=65).checked(),
    **{
        f"router: {name} = {value!r}": partial(checked, RouterConfig, name, value)
        for name, value in {
            "source": "rumour", "lost_after_s": 0, "log_size": -1, "capacity_blocks": -1, "ttl_s": 0, "kv_tokens": 0,
            "monitor": 3, "detect": None,
        }.items()
    },
    "router: ttl beside events": lambda: RouterConfig(source="events", ttl_s=3.0).checked(),
    "router: no settings": lambda: router(config=3),
    "router: a policy as a number": lambda: router(policy=3),
    "router: an unknown policy": lambda: router(policy="lmetrics"),
    "router: ties by hand": lambda: router(ties="hand"),
    "router: a seed as text": lambda: router(seed="1"),
    "router: an unknown mitigation": lambda: router(mitigation="replicat"),
    "router: a rule that reads engine times": lambda: router(policy="marginal_delay_offset"),
    "router: a rule that reads KV use": lambda: router(policy="llm_d_default"),
    "router: times that lack one": lambda: router(step_times={"a": StepTime(0.01, 1e-4, 1e-3, 0.0)}),
    "router: engine times as a number": lambda: router(step_times=3),
    "router: one engine time as a number": lambda: router(step_times={"a": StepTime(0.01, 1e-4, 1e-3, 0.0), "b": 3}),
    "router: a clock that is none": lambda: router(clock=3),
    "router: a sink that is none": lambda: router(log_sink=3),
    "router: instances as text": lambda: router(instances="ab"),
    "router: instances as a number": lambda: router(instances=3),
    "router: an instance twice": lambda: router(instances=["a", "a"]),
    "router: an instance without name": lambda: router(instances=[""]),
    "mode: an unknown one": lambda: read_mode("automatic"),
    "mode: a number": lambda: read_mode(3),
    # ---- calls of a router
    "route: no request": lambda: router().route("request"),  # type: ignore[arg-type]
    "route: an id as text": lambda: router().route(request(id="7")),
    "route: a prompt of half a token": lambda: router().route(request(prompt_tokens=0.5)),
    "route: an empty prompt": lambda: router().route(request(prompt_tokens=0)),
    "route: keys as a list": lambda: router().route(request(block_keys=[1])),
    "route: a key as text": lambda: router().route(request(block_keys=("x",))),
    "route: more blocks than the prompt has": lambda: router().route(request(block_keys=(1, 2, 3))),
    "route: a session as text": lambda: router().route(request(session="x")),
    "route: a group as a number": lambda: router().route(request(group=3)),
    "route: an output below 1": lambda: router().route(request(output_tokens=0)),
    "route: an expected output below 0": lambda: router().route(request(expected_output_tokens=-1.0)),
    "route: an arrival before all": lambda: router().route(request(arrival_s=-1.0)),
    "route: a name that cannot be looked up": lambda: router().route(request(), request_id=[]),  # type: ignore[arg-type]
    "route: a name that equals nothing": lambda: router().route(request(), request_id=float("nan")),
    "route: a name that cannot be compared": lambda: router().route(request(), request_id=Sour()),
    "route: a time as text": lambda: router().route(request(), now_s="now"),  # type: ignore[arg-type]
    "route: a time after all": lambda: router().route(request(), now_s=2e9),
    "route: nowhere to go": lambda: router(instances=[]).route(request()),
    "finish: tokens as text": lambda: router().finish(1, "many"),  # type: ignore[arg-type]
    "prefill_progress: too many tokens": lambda: router().prefill_progress(1, 2**40),
    "admitted: half a token": lambda: router().admitted(1, 0.5),  # type: ignore[arg-type]
    "kv_event: keys as a number": lambda: router().kv_event("a", stored=3),  # type: ignore[arg-type]
    "kv_event: a key as text": lambda: router().kv_event("a", stored=[1, "x"]),  # type: ignore[list-item]
    "kv_event: a removed key as text": lambda: router().kv_event("a", removed=["x"]),  # type: ignore[list-item]
    "kv_event: after a text": lambda: router().kv_event("a", after="x"),  # type: ignore[arg-type]
    "join: who is there": lambda: router().join("a"),
    "join: a number": lambda: router().join(3),  # type: ignore[arg-type]
    "drain: who is not there": lambda: router().drain("aa"),
    "leave: a number": lambda: router().leave(3),  # type: ignore[arg-type]
    "snapshot: a name that is a tuple": lambda: tupled().snapshot(),
    "snapshot: keys that are no numbers": lambda: keyed().snapshot(),
    "monitor: keys that are no numbers": lambda: watched().save(),
    "restore: a number": lambda: Router.restore(3),  # type: ignore[arg-type]
    "restore: something else": lambda: Router.restore(b"hello"),
    "restore: another version": lambda: Router.restore(snapshot().replace(b"router 1 ", b"router 99 ", 1)),
    "restore: damaged": lambda: Router.restore(snapshot() + b" "),
    "accounting: tokens below 0": lambda: Accounting(1).dispatched(1, 0, -1, 10, 0.0),
    "accounting: a prompt below 0": lambda: Accounting(1).dispatched(1, 0, 1, -10, 0.0),
    "slots: an empty one drains": lambda: Slots.restore(["a", ""], [1]),
    # ---- rules
    "policy: an unknown one": lambda: policy("lmetrik"),
    "policy: nothing like it": lambda: policy("qqqq"),
    "policy: a colon and nothing": lambda: policy("linear:"),
    "policy: a knob without value": lambda: policy("linear:weight"),
    "policy: a knob twice": lambda: policy("linear:weight=0.5,weight=0.5"),
    "policy: an unknown knob": lambda: policy("linear:wait=1"),
    "policy: a knob outside its domain": lambda: policy("linear:weight=7"),
    "policy: a knob that is no number": lambda: policy("linear:weight=heavy"),
    "policy: a choice that is none": lambda: policy("linear:form=round"),
    "policy: no knobs at all": lambda: policy("round_robin:x"),
    "decide: a column is missing": lambda: decide(policy("marginal_delay_offset"), state(), request()),
    "decide: a rule that draws": lambda: decide(policy("random"), state(), request()),
    "decide: an expected output is missing": lambda: decide(
        policy("marginal_delay_offset"),
        state(prefill_s_per_token=(1e-4, 1e-4), decode_s_per_request=(1e-5, 1e-5)), request(),
    ),
    "decide: more cached than there is": lambda: decide(policy("lmetric"), state(hit_tokens=(0, 1025)), request()),
    "decide: a column of another length": lambda: decide(policy("lmetric"), state(running=(1,)), request()),
    "decide: an id twice": lambda: decide(policy("lmetric"), state(ids=("a", "a")), request()),
    "decide: an id as a number": lambda: decide(policy("lmetric"), state(ids=("a", 3)), request()),
    "decide: no instance": lambda: decide(
        policy("lmetric"),
        ClusterState(ids=(), running=(), waiting=(), queued_prefill_tokens=(), hit_tokens=()), request(),
    ),
    "decide: a prompt of half a token": lambda: decide(policy("lmetric"), state(), request(prompt_tokens=0.5)),
    "decide: a block of half a token": lambda: decide(policy("lmetric"), state(), request(block_tokens=0.5)),
    "decide: an output of half a token": lambda: decide(policy("lmetric"), state(), request(output_tokens=0.5)),
    "decide: an arrival as text": lambda: decide(policy("lmetric"), state(), request(arrival_s="now")),
    "decide: a name for a rule": lambda: decide("lmetric", state(), request()),  # type: ignore[arg-type]
    "decide: negative": lambda: decide(policy("lmetric"), state(waiting=(0, -1)), request()),
    "decide: a time after all": lambda: decide(policy("lmetric"), state(now_s=1e10), request()),
    "compile: a column that is not declared": lambda: compile_keys(
        Rule("mine", "as much context as can be", "this test", lambda _o, x, _a, _k: x.context_tokens).with_knobs()
    ),
    # ---- errors themselves
    "trace: a line": lambda: fail(BadTrace("t.jsonl", 7, "hash_ids", [1], "integers", "try less")),
    "trace: a whole file": lambda: fail(BadTrace("t.jsonl", 0, "", Absent.MISSING, "lines")),
}  # fmt: skip


def fail(error: Exception) -> None:
    raise error


def tupled() -> Router:
    it = router()
    it.route(request(), request_id=("tenant", 1))
    return it


def keyed() -> Router:
    it = router(config=RouterConfig(source="events"))
    it._ledger.index.add(0, (b"one", b"two"))
    return it


def watched() -> Monitor:
    monitor = Monitor()
    monitor.arrived((b"one", b"two"), 16, 64)  # type: ignore[arg-type]
    return monitor


def told(name: str) -> str:
    """What a call says."""
    with pytest.raises(ArgprodError) as caught:
        CALLS[name]()
    return re.sub(r"\d+ bytes of", "so many bytes of", str(caught.value))


def saved() -> dict[str, str]:
    """The file, by name of the call."""
    lines = FILE.read_text(encoding="utf-8").splitlines()
    return {name.removeprefix("== "): text.strip() for name, text in zip(lines[::2], lines[1::2], strict=True)}


@pytest.mark.parametrize("name", list(CALLS))
def test_an_error_says_what_it_said(name: str) -> None:
    assert told(name) == saved()[name]


def test_the_file_holds_these_calls_and_no_others() -> None:
    assert list(saved()) == list(CALLS)


def test_the_domains_are_these() -> None:
    """A bound that moves changes what everybody may give."""
    assert domains() == DOMAINS.read_text(encoding="utf-8")


def domains() -> str:
    """A line for each number that argprod takes."""
    lines = []
    for told in (REQUEST_DOMAINS, INSTANCE_DOMAINS, TRAFFIC_DOMAINS, CONFIG_DOMAINS, {"now_s": TIME_DOMAIN}):
        for name, domain in told.items():
            lines.append(f"{name}: {domain.describe()}, typically up to {domain.typical_high}\n")
    return "".join(lines)


def test_errors_cross_process_boundaries_and_stay_what_they_are() -> None:
    whole = BadTrace("t.jsonl", 7, "hash_ids", Sour(), "integers", "try less")
    again = pickle.loads(pickle.dumps(whole))
    assert (type(again), again.source, again.line, again.hint) == (BadTrace, "t.jsonl", 7, "try less")
    shown_so = "'a value of type Sour that cannot be shown'"  # a text by now
    assert str(again) == f"t.jsonl:7: hash_ids: expected integers, got {shown_so} (try less)"
    for value in ("x", 3, 0.5, b"x", Absent.MISSING, None):
        sent = pickle.loads(pickle.dumps(BadInput("field", value, "more", "less")))
        assert (sent.field, sent.value, sent.expected, sent.hint) == ("field", value, "more", "less")
        assert str(sent) == str(BadInput("field", value, "more", "less"))


def test_a_value_is_shown_on_one_line_of_eighty_letters() -> None:
    assert shown("x" * 78) == repr("x" * 78)
    assert shown("x" * 79) == "'" + "x" * 76 + "..."
    assert shown(2**4096 - 1).startswith("10443")
    assert shown(2**4096) == "an integer of 4097 bits"
    assert shown(Sour()) == "a value of type Sour that cannot be shown"


@pytest.mark.parametrize("low_open", [False, True])
def test_a_domain_holds_its_ends_unless_they_are_open(low_open: bool) -> None:
    domain = Domain(1, 3, low_open=low_open)
    assert [domain.contains(value) for value in (0.5, 1, 2, 3, 3.5)] == [False, not low_open, True, True, False]


if __name__ == "__main__":
    DOMAINS.write_text(domains(), encoding="utf-8")
    FILE.write_text("".join(f"== {name}\n    {told(name)}\n" for name in CALLS), encoding="utf-8")
