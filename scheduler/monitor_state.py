"""A monitor as bytes: JSON with the tree in preorder; what can be counted again is not kept.

JSON, because bitmasks of more than 64 instances are whole numbers that MessagePack has no place for.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping

import msgspec

from scheduler.errors import BadInput
from scheduler.monitor_config import MonitorConfig
from scheduler.prefix_tree import Node, PrefixTree
from scheduler.unions import Joint

_FORMAT = 1


class SavedNode(msgspec.Struct, array_like=True):
    """A node; ``parent`` is its place in the list of nodes, from 1, or 0 for the root."""

    parent: int
    run: tuple[int, ...]
    block_tokens: int
    prompt_tokens: int
    streak: int
    standing: bool = False


class SavedMonitor(msgspec.Struct, kw_only=True):
    """A monitor.

    Args:
        config: its settings.
        next_union: number of the request at which unions are looked for next.
        form: of these bytes.
        number: requests so far.
        nodes: the tree, parents first.
        recent: where the prompts of the window end, oldest first, as places in ``nodes`` from 1.
        residents: requests in flight, with the place where the prompt ends.
        covered: places of classes that could be in a common alarm, with the mask of their holders.
        joint: unions in alarm.
        members: place of a node and of its union in ``joint``.
    """

    config: MonitorConfig
    next_union: int
    form: int = _FORMAT
    number: int = 0
    nodes: list[SavedNode] = []
    recent: list[int] = []
    residents: list[tuple[int | str, int]] = []
    covered: list[tuple[int, int]] = []
    joint: list[Joint] = []
    members: list[tuple[int, int]] = []


def as_bytes(
    saved: SavedMonitor,
    tree: PrefixTree,
    residents: Mapping[Hashable, Node],
    covered: Mapping[Node, int],
    joint: Mapping[Node, Joint],
) -> bytes:
    """Fill in what was counted and encode it.

    Raises:
        BadInput: for an id that is neither a number nor a text, or a key that is no integer.
    """
    places = {tree.root: 0}
    for node in tree.nodes():
        places[node] = len(places)
        assert node.parent is not None, "only the root has no parent"
        place, run, lengths = places[node.parent], node.run, (node.block_tokens, node.prompt_tokens)
        if not set(map(type, run)) <= {int}:
            raise BadInput("block_keys", run, "integers in all places, so that the monitor can be saved")
        saved.nodes.append(SavedNode(place, run, *lengths, node.streak, node.standing))
    saved.number = tree.number
    saved.recent = [places[node] for node in tree.recent]
    for request_id, node in residents.items():
        if not isinstance(request_id, int | str):
            raise BadInput("request_id", request_id, "a number or a text, so that the monitor can be saved")
        saved.residents.append((request_id, places[node]))
    unions = list(dict.fromkeys(joint.values()))
    saved.joint = unions
    saved.members = [(places[node], unions.index(union)) for node, union in joint.items() if node in places]
    saved.covered = [(places[node], mask) for node, mask in covered.items() if node in places]
    return msgspec.json.encode(saved)


def from_bytes(
    data: bytes,
) -> tuple[SavedMonitor, PrefixTree, dict[Hashable, Node], dict[Node, int], dict[Node, Joint]]:
    """The parts of a monitor again.

    Raises:
        BadInput: if the bytes are not from :func:`as_bytes`.
    """
    try:
        saved = msgspec.json.decode(data, type=SavedMonitor)
    except (msgspec.DecodeError, TypeError) as fault:
        raise BadInput("data", data, "bytes that Monitor.save gave", str(fault)) from None
    if saved.form != _FORMAT or not _consistent(saved):
        raise BadInput("data", data, "bytes that Monitor.save gave", "they are of another version, or damaged")
    saved.config.checked()
    tree = PrefixTree(saved.config.window_max)
    nodes = [tree.root]
    for each in saved.nodes:
        parent = nodes[each.parent]
        node = Node((each.run,), parent.end + len(each.run), parent, each.block_tokens)
        node.prompt_tokens, node.streak, node.standing = each.prompt_tokens, each.streak, each.standing
        parent.children[each.run[0]] = node
        nodes.append(node)
    tree.size = len(saved.nodes)
    tree.number = saved.number - len(saved.recent)
    for place in saved.recent:
        tree.recount(nodes[place])
    residents: dict[Hashable, Node] = {}
    for request_id, place in saved.residents:
        residents[request_id] = nodes[place]
        tree.enter(nodes[place])
    covered = {nodes[place]: mask for place, mask in saved.covered}
    return saved, tree, residents, covered, {nodes[place]: saved.joint[union] for place, union in saved.members}


def _consistent(saved: SavedMonitor) -> bool:
    """Whether every place is one of a list."""
    count = len(saved.nodes)
    places = [*saved.recent, *(place for _, place in saved.residents)]
    places += [place for pairs in (saved.members, saved.covered) for place, _ in pairs]
    return (
        all(each.run and 0 <= each.parent <= place for place, each in enumerate(saved.nodes))
        and all(0 <= place <= count for place in places)
        and all(0 <= union < len(saved.joint) for _, union in saved.members)
        and len(saved.recent) == min(saved.number, saved.config.window_max)
    )
