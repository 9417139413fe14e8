"""Where the ledger keeps things, and how a tree of which only the spine is known grows. Pure.

An entry's path follows from the time inside its id, a key's from its digest, so that nothing has to
be searched and no folder grows large: adding to 50,000 entries writes as much as to 1,000.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime

from bridge.canonical import ulid_time_ms
from bridge.errors import IntegrityError
from bridge.objects import GitObject, build_tree, parse_tree

KEYS = "key"
_FOLDER = "40000"
_LAST_MS = 253_402_300_799_999  # the end of the year 9999; an id may name a later time


def entry_path(job_id: str) -> tuple[str, ...]:
    """`yyyy/mm/dd/hh/<id>`: the folder of an ended job, by the UTC time inside its id."""
    at = datetime.fromtimestamp(min(ulid_time_ms(job_id), _LAST_MS) // 1000, UTC)
    return (f"{at.year:04}", f"{at.month:02}", f"{at.day:02}", f"{at.hour:02}", job_id)


def key_path(sha256_hex: str) -> tuple[str, ...]:
    """`key/a/b/c/<sha256>`: the file of an idempotency key, by the first digits of its digest."""
    return (KEYS, *sha256_hex[:3], sha256_hex)


def graft(
    root: str | None,
    leaves: Mapping[tuple[str, ...], tuple[str, str]],
    read: Callable[[str], bytes],
) -> tuple[str, list[GitObject]]:
    """The tree `root` with `leaves` put into it, folders made where there are none.

    Args:
        root: id of the tree as it is, None for an empty one.
        leaves: path to (mode, object id); what stands at a path is replaced.
        read: the content of a tree on the way to a leaf; no other tree is asked for.

    Returns:
        The id of the new tree, and every tree that is new.

    Raises:
        IntegrityError: a file stands where a folder must be.
    """
    entries = parse_tree(read(root)) if root else {}
    below: dict[str, dict[tuple[str, ...], tuple[str, str]]] = {}
    for (name, *rest), leaf in leaves.items():
        if rest:
            below.setdefault(name, {})[tuple(rest)] = leaf
        else:
            entries[name] = leaf
    trees: list[GitObject] = []
    for name, inner in below.items():
        mode, oid = entries.get(name, (_FOLDER, None))
        if mode != _FOLDER:
            raise IntegrityError(f"the ledger holds a file where the folder {name!r} belongs")
        new, grown = graft(oid, inner, read)
        entries[name] = (_FOLDER, new)
        trees += grown
    tree = build_tree(entries)
    return tree.oid, [*trees, tree]
