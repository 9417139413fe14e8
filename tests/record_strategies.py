"""Wire records of every kind, for properties."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from bridge import canonical
from bridge.plans import Axis, Budget, Campaign, Decision, Edge, Launched, Membership, Move, Node
from bridge.records import (
    ArtifactRef,
    ArtNote,
    BusIdentity,
    CancelWish,
    Checkpoint,
    Claim,
    Decline,
    Exit,
    Facts,
    Heartbeat,
    Held,
    KeyNote,
    LedgerEntry,
    LogChunk,
    Prediction,
    PresetRef,
    Progress,
    Request,
    Requeue,
    Resources,
    Result,
    Source,
    Step,
)
from bridge.states import TERMINAL_STATES
from tests.strategies import SAFE, digests, floats, lines, nonces, oids, texts, times, ulids, words

attempts = st.integers(1, 100)
seconds = st.floats(0.1, 86_400)
resources = st.builds(
    Resources,
    cpus=st.integers(1, 4096),
    memory_mb=st.integers(1, 2**26),
    gpus=st.integers(0, 64),
    gpu_memory_mb=st.integers(0, 2**22),
)
params = st.dictionaries(
    st.from_regex(r"[a-z][a-z0-9_]{0,20}", fullmatch=True),
    st.booleans() | st.integers(-SAFE, SAFE) | floats | texts,
    max_size=4,
).map(canonical.freeze)
predictions = st.builds(
    Prediction,
    id=words,
    text=lines.filter(bool),
    credence=st.sampled_from(["0", "0.5", "1"]),
    rule=st.none(),
)
facts = st.builds(
    Facts,
    labels=st.lists(words, max_size=3).map(tuple),
    resources=resources,
    free=resources,
    trusted=oids,
    code_policy=st.sampled_from(["merged", "signed", "any"]),
    isolation=words,
    executors=st.lists(words, max_size=3).map(tuple),
    os=lines,
    version=lines,
    draining=st.booleans(),
)
exits = st.builds(
    Exit,
    code=st.none() | st.integers(0, 255),
    signal=st.none() | st.integers(1, 64),
    reason=st.sampled_from(["exit", "signal", "timeout", "memory"]),
    detail=lines,
)
verdicts = st.sampled_from(["pass", "fail", "inconclusive", "missing", "error"])
nodes = st.builds(
    Node,
    id=words,
    preset=st.builds(PresetRef, name=words, digest=digests),
    params=params,
    label=words,
    labels=st.lists(words, min_size=1, max_size=4, unique=True).map(tuple),
    resources=resources,
    axes=st.lists(
        st.builds(
            Axis,
            param=st.sampled_from(["lr", "seed"]),
            values=st.lists(st.integers(0, 99), min_size=1, max_size=3, unique=True).map(tuple),
        ),
        max_size=2,
    ).map(tuple),
    after=st.lists(
        st.builds(Edge, node=words, gate=st.none() | words, opens=st.just(("pass", "fail"))),
        max_size=2,
    ).map(tuple),
    priority=st.integers(0, 9),
    max_attempts=st.integers(1, 10),
    executor=st.none() | st.sampled_from(["local", "ssh"]),
)
RECORDS: dict[str, st.SearchStrategy[Any]] = {
    "bus": st.builds(BusIdentity, id=ulids, created_at=times),
    "request": st.builds(
        Request,
        id=ulids,
        bus=ulids,
        preset=st.builds(PresetRef, name=words, digest=digests),
        params=params,
        code=oids,
        label=words,
        labels=st.lists(words, min_size=1, max_size=4, unique=True).map(tuple),
        resources=resources,
        priority=st.integers(0, 9),
        nonce=nonces,
        requested_by=lines.filter(bool),
        requested_at=times,
        queue_timeout_s=st.none() | st.integers(1, 86_400),
        max_attempts=st.integers(1, 10),
        executor=st.none() | st.sampled_from(["local", "pueue", "ssh", "slurm", "actions"]),
        sources=st.lists(
            st.builds(Source, digest=digests, job=ulids, path=lines.filter(bool)), max_size=2
        ).map(tuple),
        predictions=st.lists(predictions, max_size=2).map(tuple),
        retry_of=st.none() | ulids,
        amends=st.none() | digests,
        campaign=st.none()
        | st.builds(Membership, id=ulids, plan=digests, node=words, cell=lines.filter(bool)),
        reuse=st.none() | st.booleans(),
        replay_of=st.none() | ulids,
        runner=st.none() | words,
        avoid=st.none() | words,
    ),
    "campaign": st.builds(
        Campaign,
        id=ulids,
        bus=ulids,
        name=words,
        code=oids,
        nodes=st.lists(nodes, min_size=1, max_size=3).map(tuple),
        requested_by=lines.filter(bool),
        requested_at=times,
        nonce=nonces,
        budget=st.builds(
            Budget,
            jobs=st.none() | st.integers(1, 1000),
            hours=st.none() | st.floats(0.125, 100.0),
        ),
        parallel=st.integers(1, 500),
        fresh=st.booleans(),
        description=lines,
        amends=st.none() | digests,
        reason=lines,
    ),
    "move": st.builds(
        Move,
        campaign=digests,
        event=st.sampled_from(["launch", "decide", "pause", "resume", "amend", "done"]),
        by=lines.filter(bool),
        nonce=nonces,
        reason=lines,
        cells=st.lists(
            st.builds(Launched, node=words, cell=lines.filter(bool), job=ulids), max_size=3
        ).map(tuple),
        decision=st.none()
        | st.builds(
            Decision,
            node=words,
            verdict=verdicts,
            evidence=digests,
            gates=st.dictionaries(words, verdicts, max_size=3),
            ran=st.integers(0, 100),
            planned=st.integers(0, 100),
            hours=st.floats(0, 100),
        ),
        verdict=st.none() | verdicts,
        evidence=st.none() | digests,
        changes=st.lists(lines, max_size=3).map(tuple),
    ),
    "claim": st.builds(
        Claim,
        request=digests,
        attempt=attempts,
        runner=words,
        session=nonces,
        trusted=oids,
        preset=digests,
        executor=words,
        isolation=words,
        lease_s=seconds,
        heartbeat_s=seconds,
        nonce=nonces,
    ),
    "log": st.builds(
        LogChunk,
        request=digests,
        claim=oids,
        attempt=attempts,
        sequence=st.integers(1, 10_000),
        bytes=st.integers(0, 2**18),
        nonce=nonces,
        progress=st.none()
        | st.builds(
            Progress,
            step=st.integers(0, SAFE),
            total=st.none() | st.integers(0, SAFE),
            eta_s=st.none() | st.floats(0, 1e6),
            note=lines,
        ),
        checkpoint=st.none()
        | st.builds(
            Checkpoint,
            sha256=digests,
            bytes=st.integers(0, SAFE),
            attempt=attempts,
            step=st.integers(0, SAFE),
        ),
    ),
    "requeue": st.builds(
        Requeue,
        request=digests,
        claim=oids,
        attempt=attempts,
        reason=lines,
        by=lines.filter(bool),
        nonce=nonces,
    ),
    "result": st.builds(
        Result,
        state=st.sampled_from(sorted(TERMINAL_STATES)).map(lambda state: state.value),
        request=st.none() | digests,
        request_commit=oids,
        attempt=attempts,
        by=lines.filter(bool),
        nonce=nonces,
        message=lines,
        claim=st.none() | oids,
        exit=st.none() | exits,
        verdict=st.none() | st.sampled_from(["pass", "fail", "inconclusive", "missing", "error"]),
        evidence=st.none() | digests,
        artifacts=st.lists(
            st.builds(ArtifactRef, path=words, sha256=digests, bytes=st.integers(0, SAFE)),
            max_size=2,
        ).map(tuple),
        problems=st.lists(lines, max_size=2).map(tuple),
    ),
    "heartbeat": st.builds(
        Heartbeat,
        runner=words,
        session=nonces,
        sequence=st.integers(0, SAFE),
        nonce=nonces,
        heartbeat_s=seconds,
        facts=facts,
        claims=st.lists(st.builds(Held, id=ulids, claim=oids), max_size=2).map(tuple),
        declines=st.lists(
            st.builds(
                Decline,
                id=ulids,
                reason=st.sampled_from(["label", "policy", "busy"]),
                detail=lines,
            ),
            max_size=2,
        ).map(tuple),
    ),
    "cancel": st.builds(
        CancelWish, id=ulids, request=digests, by=lines.filter(bool), nonce=nonces, reason=lines
    ),
    "key": st.builds(KeyNote, id=ulids, manifest=digests, nonce=nonces),
    "art": st.builds(
        ArtNote,
        sha256=digests,
        bytes=st.integers(0, SAFE),
        store=st.sampled_from(["parts", "lfs"]),
    ),
    "entry": st.builds(
        LedgerEntry,
        id=ulids,
        ref=lines,
        tip=oids,
        head=oids,
        request_commit=oids,
        archive=lines,
        chunks=st.integers(0, 20_000),
        steps=st.lists(
            st.builds(
                Step, oid=oids, event=st.sampled_from(["request", "claim", "done"]), subject=lines
            ),
            min_size=1,
            max_size=3,
        ).map(tuple),
        fault=st.none() | lines,
    ),
}
