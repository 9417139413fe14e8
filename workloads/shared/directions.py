"""A tree of directions: what points alike is found by walking down the nearest branches."""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field

import torch
from torch.nn import functional

CAPACITY = 8
ROUNDS = 8


@dataclass
class _Node:
    center: torch.Tensor
    members: list[int] = field(default_factory=list)
    children: list[_Node] = field(default_factory=list)


class DirectionTree:
    """Unit vectors by id; a leaf that holds more than `capacity` is split in two.

    A leaf of equal directions cannot be split and is left larger: `overflow` counts those.
    """

    def __init__(self, capacity: int = CAPACITY) -> None:
        self._capacity = capacity
        self._directions: dict[int, torch.Tensor] = {}
        self._root: _Node | None = None

    def __len__(self) -> int:
        return len(self._directions)

    @property
    def ids(self) -> frozenset[int]:
        """Every id in it."""
        return frozenset(self._directions)

    def insert(self, item: int, direction: torch.Tensor) -> None:
        """Add an id with its direction (D,); an id that is there is moved.

        Raises:
            ValueError: the direction is no unit vector.
        """
        if abs(float(direction.norm()) - 1) > 1e-3:
            raise ValueError(f"direction of {item} has length {float(direction.norm()):.4f}, not 1")
        if item in self._directions:
            self.remove(item)
        self._directions[item] = direction
        if self._root is None:
            self._root = _Node(direction, [item])
            return
        node = self._root
        while node.children:
            node = max(node.children, key=lambda child: float(child.center @ direction))
        node.members.append(item)
        self._split(node)

    def remove(self, item: int) -> None:
        """Take an id out (KeyError where it is not)."""
        del self._directions[item]
        assert self._root is not None
        for leaf in self._leaves():
            if item in leaf.members:
                leaf.members.remove(item)

    def retrieve(self, direction: torch.Tensor, count: int, *, beam: int = 4) -> list[int]:
        """Up to `count` ids nearest to a direction (D,), nearest first, from `beam` leaves."""
        if self._root is None:
            return []
        found: list[int] = []
        # the most promising branches first; the counter keeps nodes from being compared
        frontier: list[tuple[float, int, _Node]] = [(0.0, 0, self._root)]
        counter = 0
        leaves = 0
        while frontier and leaves < beam:
            _, _, node = heapq.heappop(frontier)
            if not node.children:
                found += node.members
                leaves += bool(node.members)
            for child in node.children:
                counter += 1
                heapq.heappush(frontier, (-float(child.center @ direction), counter, child))
        found.sort(key=lambda item: -float(self._directions[item] @ direction))
        return found[:count]

    def largest_leaf(self) -> int:
        """Members of the fullest leaf."""
        return max((len(leaf.members) for leaf in self._leaves()), default=0)

    def _leaves(self) -> list[_Node]:
        stack = [self._root] if self._root else []
        leaves = []
        while stack:
            node = stack.pop()
            stack += node.children
            if not node.children:
                leaves.append(node)
        return leaves

    def _split(self, node: _Node) -> None:
        if len(node.members) <= self._capacity:
            return
        points = torch.stack([self._directions[item] for item in node.members])
        halves = _halve(points)
        if halves is None:
            return
        for half in (halves, ~halves):
            members = [item for item, chosen in zip(node.members, half, strict=True) if chosen]
            center = functional.normalize(points[half].mean(0), dim=0)
            node.children.append(_Node(center, members))
        node.members = []
        for child in node.children:
            self._split(child)


def _halve(points: torch.Tensor) -> torch.Tensor | None:
    """Which of the points (n, D) fall to one of two centres; None where all are alike."""
    first = points[(points @ points[0]).argmin()]
    second = points[(points @ first).argmin()]
    if float(first @ second) > 1 - 1e-6:
        return None
    for _ in range(ROUNDS):
        half = points @ first >= points @ second
        first = functional.normalize(points[half].mean(0), dim=0)
        second = functional.normalize(points[~half].mean(0), dim=0)
        if (points @ first >= points @ second).all() or (points @ first < points @ second).all():
            break
    return half
