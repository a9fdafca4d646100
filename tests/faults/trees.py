"""Random trees of tasks, and what they come to: a model in plain Python."""

from __future__ import annotations

import itertools
import random
from typing import Any

Node = dict[str, Any]
Op = dict[str, Any]

MAX_DEPTH = 4


def grow(rng: random.Random) -> Node:
    """Return a tree: nodes with operations, some of which are children."""
    names = itertools.count()

    def node(depth: int) -> Node:
        return {
            "value": rng.randrange(1000),
            "ops": [op(depth) for _ in range(rng.randrange(4))],
            "fails_early": rng.choice((0, 0, 0, 0, 1)),
            "fails_late": rng.choice((0, 0, 0, 0, 1)),
            "aborts": depth > 1 and rng.random() < 0.1,
        }

    def op(depth: int, *, gathers: bool = True) -> Op:
        kinds = ["wait", "step", "step"]
        if depth < MAX_DEPTH:
            kinds += ["child", "batch"]
        if gathers:
            kinds.append("gather")
        match rng.choice(kinds):
            case "wait":
                return {"wait": rng.randrange(51)}
            case "step":
                return {"step": [f"step {next(names)}", rng.randrange(1000)]}
            case "child":
                return {"child": node(depth + 1)}
            case "batch":
                return {"batch": [node(depth + 1) for _ in range(rng.randrange(4))]}
        return {"gather": [op(depth, gathers=False) for _ in range(rng.randrange(1, 4))]}

    return node(1)


def outcome(node: Node) -> int | None:
    """Return what the task of a node returns; None when it fails for good."""
    total = node["value"] + sum(_worth(op) for op in node["ops"])
    return None if node["aborts"] else total


def _worth(op: Op) -> int:
    match op:
        case {"wait": _}:
            return 1
        case {"step": [_, value]}:
            return 3 * value
        case {"child": node}:
            return _result(node)
        case {"batch": nodes}:
            return sum(map(_result, nodes))
    return sum(map(_worth, op["gather"]))


def _result(node: Node) -> int:
    found = outcome(node)
    return -node["value"] if found is None else found


def nodes(node: Node) -> int:
    """Return how many tasks a tree has."""
    return 1 + sum(map(_nodes_of, node["ops"]))


def _nodes_of(op: Op) -> int:
    match op:
        case {"child": node}:
            return nodes(node)
        case {"batch": several}:
            return sum(map(nodes, several))
        case {"gather": ops}:
            return sum(map(_nodes_of, ops))
    return 0
