"""Laws of the readers of CSV traces: rows come back as requests, nothing is shared, formats are never confused."""

import csv
import datetime as dt
import gzip
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from replay.experiment import Plan, run_one
from replay.sim.cluster import roofline_cluster
from replay.sim.parts import PLAIN, QUICK, prepare
from replay.sim.run import simulate
from replay.traces import FORMATS, ReadOptions, ReadReport, read_trace, trace_facts
from replay.traces.catalogue import detected
from scheduler import PrefixIndex, policy
from scheduler.errors import BadInput, BadTrace
from scheduler.state import Request, checked_request
from tests.replay.test_trace_errors import GOOD, GOOD_BAILIAN, GOOD_OWN

AZURE = ("TIMESTAMP", "ContextTokens", "GeneratedTokens")
BURST = ("Timestamp", "Model", "Request tokens", "Response tokens", "Total tokens", "Log Type")
BURST_LONG = ("Timestamp", "Session ID", "Elapsed time", *BURST[1:])
START = dt.datetime(2024, 5, 10, tzinfo=dt.UTC)

tokens = st.integers(1, 10_000)


def as_csv(names: Sequence[str], rows: Sequence[dict[str, object]]) -> bytes:
    """A file with these columns."""
    text = io.StringIO()
    writer = csv.DictWriter(text, names, extrasaction="ignore", restval="x")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def read_back(
    factory: pytest.TempPathFactory, content: bytes, report: ReadReport | None = None, **options: Any
) -> list[Request]:
    path = factory.mktemp("csv") / "t"
    path.write_bytes(content)
    return list(read_trace(path, options=ReadOptions(**options), report=report))


class AzureRow(NamedTuple):
    """A row and what it means."""

    at_ns: int
    text: str
    prompt: int
    output: int


@st.composite
def azure_rows(draw: st.DrawFn) -> list[AzureRow]:
    """Rows in order of time, each written in one of the ways in which the same time can be written."""
    rows = []
    for at_ns in sorted(draw(st.lists(st.integers(0, 10**15), min_size=1, max_size=12))):
        offset_min = draw(st.sampled_from([None, 0, 0, 330, -480]))
        seconds, ns = divmod(at_ns, 10**9)
        local = START + dt.timedelta(seconds=seconds, minutes=offset_min or 0)
        text = local.strftime("%Y-%m-%d %H:%M:%S")
        decimals = f"{ns:09}".rstrip("0")
        if decimals or draw(st.booleans()):
            text += "." + decimals.ljust(draw(st.integers(max(1, len(decimals)), 9)), "0")
        if offset_min is not None:
            text += f"{'-' if offset_min < 0 else '+'}{abs(offset_min) // 60:02}:{abs(offset_min) % 60:02}"
        rows.append(AzureRow(at_ns, text, draw(tokens), draw(st.integers(0, 500))))
    return rows


@given(azure_rows(), st.permutations((*AZURE, "NumImages")))
def test_what_an_azure_file_says_is_what_is_read(
    tmp_path_factory: pytest.TempPathFactory, rows: list[AzureRow], names: list[str]
) -> None:
    content = as_csv(names, [dict(zip(AZURE, row[1:], strict=True)) for row in rows])
    report = ReadReport()
    requests = read_back(tmp_path_factory, content, report)
    assert [request.arrival_s for request in requests] == [(row.at_ns - rows[0].at_ns) / 1e9 for row in rows]
    assert [request.prompt_tokens for request in requests] == [row.prompt for row in rows]
    assert [request.output_tokens for request in requests] == [max(1, row.output) for row in rows]
    assert report.empty_outputs == sum(row.output == 0 for row in rows)
    assert (report.lines, report.requests, report.failed_left_out) == (len(rows) + 1, len(rows), 0)
    assert [request.id for request in requests] == list(range(len(rows)))
    assert {(each.block_keys, each.block_tokens, each.session, each.group) for each in requests} == {((), 16, None, "")}
    for request in requests:
        checked_request(request)


burst_rows = st.lists(
    st.fixed_dictionaries(
        {
            "Timestamp": st.integers(0, 10**7) | st.integers(0, 10**8).map(lambda tenths: tenths / 10),
            "Model": st.sampled_from(["ChatGPT", "GPT-4", 'a "b", c']),
            "Request tokens": tokens,
            "Response tokens": st.just(0) | tokens,
            "Log Type": st.sampled_from(["API log", "Conversation log"]),
            "Session ID": st.sampled_from(["", "1722ac82", "d5983bf9"]),
        }
    ),
    min_size=1,
    max_size=12,
).map(lambda rows: sorted(rows, key=lambda row: row["Timestamp"]))


@given(burst_rows, st.permutations(BURST) | st.permutations(BURST_LONG))
def test_what_a_burstgpt_file_says_is_what_is_read_without_the_failures(
    tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, Any]], names: list[str]
) -> None:
    kept = [row for row in rows if row["Response tokens"]]
    if not kept:
        return
    report = ReadReport()
    requests = read_back(tmp_path_factory, as_csv(names, rows), report)
    assert requests == read_back(tmp_path_factory, as_csv(names, kept))  # as the publishers' files without failures
    assert (report.lines, report.requests, report.failed_left_out) == (
        len(rows) + 1,
        len(kept),
        len(rows) - len(kept),
    )
    assert [each.arrival_s for each in requests] == [row["Timestamp"] - kept[0]["Timestamp"] for row in kept]
    assert [each.prompt_tokens for each in requests] == [row["Request tokens"] for row in kept]
    assert [each.output_tokens for each in requests] == [row["Response tokens"] for row in kept]
    assert [each.group for each in requests] == [f"{row['Model']}, {row['Log Type']}" for row in kept]
    assert {each.block_keys for each in requests} == {()}
    told = [row["Session ID"] if "Session ID" in names else "" for row in kept]
    order = list(dict.fromkeys(filter(None, told)))
    assert [each.session for each in requests] == [order.index(name) if name else None for name in told]
    for request in requests:
        checked_request(request)


@given(azure_rows(), st.data())
def test_rows_out_of_order_are_refused_and_none_is_moved(
    tmp_path_factory: pytest.TempPathFactory, rows: list[AzureRow], data: st.DataObject
) -> None:
    shuffled = data.draw(st.permutations(rows))
    content = as_csv(AZURE, [dict(zip(AZURE, row[1:], strict=True)) for row in shuffled])
    report = ReadReport()
    requests = read_back(tmp_path_factory, content, report, on_bad_line="skip")
    leaders = [
        row for place, row in enumerate(shuffled) if row.at_ns >= max(each.at_ns for each in shuffled[: place + 1])
    ]
    assert [request.prompt_tokens for request in requests] == [row.prompt for row in leaders]
    assert report.skipped == len(rows) - len(leaders)


SMALL = {
    "azure": b"TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:15:46.6805900,374,44\n"
    b"2023-11-16 18:15:50.9951690,396,109\n2023-11-16 18:15:51.2224670,879,0\n",
    "burstgpt": b"Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type\n"
    b"5,ChatGPT,472,18,490,Conversation log\n45,ChatGPT,1087,0,1087,Conversation log\n"
    b"118,GPT-4,417,276,693,API log\n118,GPT-4,417,276,693,API log\n",
}


@pytest.mark.parametrize("name", SMALL)
def test_packing_does_not_matter(tmp_path: Path, name: str) -> None:
    plain = SMALL[name]
    half = plain.index(b"\n") + 20
    (tmp_path / "plain").write_bytes(plain)
    expected = list(read_trace(tmp_path / "plain"))
    assert len(expected) == 3
    packed = {
        "gzip": gzip.compress(plain),
        "zstd": zstandard.compress(plain),
        "two-members": gzip.compress(plain[:half]) + gzip.compress(plain[half:]),
        "two-frames": zstandard.compress(plain[:half]) + zstandard.compress(plain[half:]),
        "bom": b"\xef\xbb\xbf" + plain,
        "windows": plain.replace(b"\n", b"\r\n"),
        "blank-lines": b"\n" + plain.replace(b"\n", b"\n\n"),
        "no-newline-at-the-end": plain.rstrip(),
        "blanks-around-values": plain.replace(b",", b" , "),
        "quoted": b'"' + plain.rstrip().replace(b",", b'","').replace(b"\n", b'"\n"') + b'"',
    }
    for kind, content in packed.items():
        (tmp_path / kind).write_bytes(content)
        assert list(read_trace(tmp_path / kind)) == expected, kind


HEADERS = {"azure": (AZURE, (*AZURE, "NumImages")), "burstgpt": (BURST, BURST_LONG)}
OBJECTS = {"mooncake": GOOD, "bailian": GOOD_BAILIAN, "argprod": GOOD_OWN}
extra_names = st.lists(st.text("abcXYZ _", min_size=1, max_size=6), max_size=3, unique=True)


@given(st.sampled_from(sorted(FORMATS)), extra_names, st.data())
def test_a_format_is_told_by_its_first_line_and_never_taken_for_another(
    name: str, more: list[str], data: st.DataObject
) -> None:
    if name in OBJECTS:
        names = data.draw(st.permutations([*OBJECTS[name], *more]))
        # Columns of CSV as fields of JSON are unknown fields.
        row = {each: OBJECTS[name].get(each, 1) for each in [*names, *data.draw(st.sampled_from([(), AZURE, BURST]))]}
        line = json.dumps(row).encode()
    else:
        columns = data.draw(st.permutations([*data.draw(st.sampled_from(HEADERS[name])), *more]))
        line = as_csv(columns, [])
    assert detected(line).name == name


@pytest.mark.parametrize("names", [AZURE, BURST, BURST_LONG])
def test_columns_of_csv_in_json_are_no_format(names: Sequence[str]) -> None:
    with pytest.raises(BadInput, match="the fields of a known format"):
        detected(json.dumps(dict.fromkeys(names, 1)).encode())


@pytest.mark.parametrize("name", OBJECTS)
def test_fields_of_json_in_a_header_are_no_format(name: str) -> None:
    with pytest.raises(BadInput, match="one JSON object, or a header"):
        detected(as_csv(list(OBJECTS[name]), []))


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("other", FORMATS)
def test_a_file_read_as_another_format_is_refused(tmp_path: Path, name: str, other: str) -> None:
    content = SMALL.get(name) or (json.dumps(OBJECTS[name]) + "\n").encode()
    (tmp_path / "t").write_bytes(content)
    if name == other or (name, other) == ("bailian", "mooncake"):  # Bailian's lines have all of Mooncake's fields
        return
    with pytest.raises(BadTrace, match=r"/t:1: "):
        list(read_trace(tmp_path / "t", format_name=other))


@given(st.lists(st.tuples(tokens, st.integers(1, 30)), min_size=1, max_size=20), st.sampled_from(["lmetric", "dynamo"]))
def test_nothing_is_shared_in_replay_even_by_equal_prompts(
    tmp_path_factory: pytest.TempPathFactory, lengths: list[tuple[int, int]], rule: str
) -> None:
    rows = [dict(zip(AZURE, (f"2024-05-10 00:00:{at:02}", *pair), strict=True)) for at, pair in enumerate(lengths)]
    requests = read_back(tmp_path_factory, as_csv(AZURE, [*rows, *({**rows[-1]} for _ in range(3))]))
    facts = trace_facts(requests)
    assert (facts.hit_ceiling, facts.distinct_blocks) == (0.0, 0)
    cluster = roofline_cluster(2)
    for mitigation in ("none", "auto"):
        plan = Plan((rule,), (0,), cluster, mitigations=(mitigation,))
        summary = run_one(rule, prepare(requests), plan, 0, mitigation=mitigation).summary
        assert (summary.hit_fraction, summary.finished) == (0.0, len(requests))
    runs = [simulate(prepare(requests, parts), policy(rule), cluster) for parts in (PLAIN, QUICK)]
    assert [sim.outcome() for sim in runs[0].sims] == [sim.outcome() for sim in runs[1].sims]


def test_a_request_without_keys_leaves_nothing_in_an_index(tmp_path: Path) -> None:
    (tmp_path / "t").write_bytes(SMALL["burstgpt"])
    requests = list(read_trace(tmp_path / "t"))
    index = PrefixIndex(2)
    for request in requests:
        index.add(0, request.block_keys)
        assert list(index.hit_tokens(request.block_keys, request.block_tokens, 0)) == [0, 0]
    assert len(index) == 0
