"""Which art refs nobody needs any more: checkpoints of ended jobs, artifacts that have expired."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from bridge.bus.art import read_owner
from bridge.bus.chain import Chain
from bridge.git import RefTip

LoadAll = Callable[[Sequence[str]], Sequence[Chain]]


def find_stale(
    arts: Mapping[str, RefTip],
    live: Mapping[str, str],
    load_all: LoadAll,
    dated_s: Callable[[RefTip], int],
    before_s: int | None,
) -> tuple[RefTip, ...]:
    """The art refs that may be deleted.

    A checkpoint goes once its job has ended or is not there. An artifact goes where it was pushed
    before `before_s`, the job that left it is folded, and no job at a ref of its own names it.

    Args:
        arts: every art ref by name.
        live: the jobs at refs of their own, id to ref.
        load_all: reads the chains of jobs.
        dated_s: the Unix time that a commit claims.
        before_s: Unix time; None keeps every artifact.
    """
    owners = {ref: read_owner(tip) for ref, tip in arts.items()}
    kept = {ref: owner.job for ref, owner in owners.items() if owner and owner.kind == "checkpoint"}
    stale = [ref for ref, job in kept.items() if job not in live]
    going_on = sorted({live[job] for job in kept.values() if job in live})
    ended = {chain.job.id for chain in load_all(going_on) if chain.ended}
    stale += [ref for ref, job in kept.items() if job in ended]
    if before_s is not None:
        old = [
            ref
            for ref, owner in owners.items()
            if owner
            and owner.kind == "artifact"
            and owner.job not in live
            and dated_s(arts[ref]) < before_s
        ]
        named = set(_named(load_all(sorted(live.values())))) if old else set()
        stale += [ref for ref in old if f"sha256:{ref.rpartition('/')[2]}" not in named]
    return tuple(arts[ref] for ref in stale)


def _named(chains: Sequence[Chain]) -> Iterator[str]:
    """The digests that jobs name, in what they asked for or in what they left."""
    for chain in chains:
        if chain.request is not None:
            yield from (str(value) for value in chain.request.params.values())
            yield from (source.digest for source in chain.request.sources)
        if chain.result is not None:
            yield from (item.sha256 for item in chain.result.artifacts)
