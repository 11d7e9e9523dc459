"""The tree of recent prompts against plain lists: counts at every depth, memory, splits and merges."""

from collections import Counter
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from scheduler.prefix_tree import Node, PrefixTree


def chained(steps: list[int]) -> tuple[int, ...]:
    """Keys that name their whole chain: a prefix is a number in base 4."""
    keys, key = [], 0
    for step in steps:
        key = 4 * key + step + 1
        keys.append(key)
    return tuple(keys)


PROMPTS = st.lists(st.sampled_from([0, 0, 0, 1, 2]), min_size=2, max_size=8).map(chained) | st.just(())
#: A prompt to add, or which of those in flight (or of those seen) to end (or to send).
STEP = st.tuples(st.sampled_from(["add", "add", "enter", "leave"]), PROMPTS, st.integers(0, 99))
STEPS = st.integers(0, 60).flatmap(lambda count: st.lists(STEP, min_size=count, max_size=count))
WINDOWS = st.integers(1, 12)


def run(window: int, steps: list[Any]) -> tuple[PrefixTree, list[tuple[int, ...]], list[tuple[int, ...]]]:
    """The tree after the steps, the prompts of the window, and those in flight."""
    tree, seen, flying = PrefixTree(window), list[tuple[int, ...]](), list[tuple[tuple[int, ...], Node]]()
    for what, prompt, draw in steps:
        if what == "add":
            tree.add(prompt, len(prompt), 16, 16 * len(prompt))
            seen.append(prompt)
        elif what == "enter":
            prompt = seen[draw % len(seen)] if seen and draw % 3 else prompt  # it may have left the window
            node = tree.find(prompt, len(prompt), 16)
            tree.enter(node)
            flying.append((prompt, node))
        elif flying:
            _, node = flying.pop(draw % len(flying))
            tree.leave(node)
    return tree, seen[-window:], [prompt for prompt, _ in flying]


def by_key(tree: PrefixTree) -> dict[int, Node]:
    """The node that covers each block."""
    return {key: node for node in tree.nodes() for key in node.run}


@given(WINDOWS, STEPS)
def test_counts_at_every_depth_are_those_of_the_window_and_of_the_requests_in_flight(
    window: int, steps: list[Any]
) -> None:
    tree, recent, flying = run(window, steps)
    requests, residents = (Counter(key for prompt in some for key in prompt) for some in (recent, flying))
    nodes = by_key(tree)
    assert nodes.keys() == set(requests) | set(residents)
    for key, node in nodes.items():
        assert len(node.arrivals) == requests[key]
        assert node.residents == residents[key]
    assert tree.root.residents == len(flying)


@given(WINDOWS, STEPS, st.integers(0, 12))
def test_counts_over_shorter_windows_are_exact_too(window: int, steps: list[Any], shorter: int) -> None:
    tree, recent, _ = run(window, steps)
    shorter = min(shorter, window)
    requests = Counter(key for prompt in recent[len(recent) - min(shorter, len(recent)) :] for key in prompt)
    for key, node in by_key(tree).items():
        assert node.count_since(tree.number - shorter) == requests[key]
        assert list(node.arrivals) == sorted(node.arrivals)


@given(WINDOWS, STEPS)
def test_memory_is_two_nodes_a_prompt_and_the_keys_of_distinct_blocks(window: int, steps: list[Any]) -> None:
    tree, recent, flying = run(window, steps)
    nodes = list(tree.nodes())
    assert tree.size == len(nodes) <= 2 * len({*recent, *flying})
    assert sum(len(node.run) for node in nodes) == len({key for prompt in (*recent, *flying) for key in prompt})
    assert len(tree.recent) == len(recent)


@given(WINDOWS, STEPS)
def test_every_node_ends_a_prompt_or_parts_two(window: int, steps: list[Any]) -> None:
    tree, recent, flying = run(window, steps)
    ends = Counter(prompt[-1] for prompt in (*recent, *flying) if prompt)
    for node in tree.nodes():
        assert node.ends == ends[node.last]
        assert node.ends or len(node.children) > 1
        for first, child in node.children.items():
            assert (child.parent, child.first, child.run[0]) == (node, first, first)
            assert child.end == node.end + len(child.run)


@given(PROMPTS, PROMPTS)
def test_equal_prefixes_of_any_depth_share_their_node(one: tuple[int, ...], other: tuple[int, ...]) -> None:
    tree = PrefixTree(4)
    for prompt in (one, other):
        tree.add(prompt, len(prompt), 16, 16 * len(prompt))
    nodes = by_key(tree)
    for key in set(one) & set(other):
        assert list(nodes[key].arrivals) == [1, 2]
    for key in set(one) ^ set(other):
        assert len(nodes[key].arrivals) == 1


@given(STEPS, PROMPTS)
def test_who_knows_the_end_of_a_prompt_knows_it_after_splits_and_merges(
    steps: list[Any], prompt: tuple[int, ...]
) -> None:
    tree = PrefixTree(12)
    node = tree.add(prompt, len(prompt), 16, 16 * len(prompt))
    tree.enter(node)
    for what, other, _ in steps:
        if what == "add":
            tree.add(other, len(other), 16, 16 * len(other))
    assert tree.find(prompt, len(prompt), 16) is node
    assert node.end == len(prompt)


def test_blocks_beyond_the_limit_do_not_count() -> None:
    tree = PrefixTree(4)
    tree.add((1, 5, 21), 2, 16, 47)
    assert [node.run for node in tree.nodes()] == [(1, 5)]
    assert tree.add((1, 5, 21), 0, 16, 15) is tree.root


def test_a_prompt_of_a_thousand_blocks_is_compared_at_few_of_them() -> None:
    class Counting(tuple[int, ...]):
        __slots__ = ()
        looks = 0

        def __getitem__(self, at: Any) -> Any:
            Counting.looks += not isinstance(at, slice)
            return super().__getitem__(at)

    keys = tuple(range(1, 1001))
    tree = PrefixTree(8)
    tree.add(keys, 1000, 16, 16_000)
    tree.add(Counting(keys), 1000, 16, 16_000)
    assert Counting.looks == 2
    tree.add(Counting((*keys[:700], *range(2000, 2300))), 1000, 16, 16_000)
    assert Counting.looks <= 2 + 20  # where it leaves the run is found by bisection
    assert [len(node.run) for node in tree.nodes()] == [700, 300, 300]
