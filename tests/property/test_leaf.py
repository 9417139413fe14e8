"""Properties of the pure leaf: what goes out comes back, and nothing strange comes in."""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge import canonical, records
from bridge.bus.chain import Chain
from bridge.bus.commits import compose_step, runner_identity
from bridge.bus.refs import JobRef, Refs
from bridge.errors import IntegrityError, KakeyaError, ManifestError
from bridge.objects import GitObject, Identity, build_commit, objects_from_bytes, parse_tree
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
from bridge.states import TERMINAL_EVENTS, TERMINAL_STATES, TRANSITIONS, Event, State, replay
from tests import samples
from tests.actors import WHEN_S
from tests.memory_chain import MemoryChain
from tests.rawgit import RawGit

SAFE = canonical.MAX_SAFE_INTEGER
BEYOND = 10**21

# -- canonical JSON ------------------------------------------------------------------------

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
floats = st.floats(allow_nan=False, allow_infinity=False).filter(
    lambda number: not SAFE < abs(number) < BEYOND
)
scalars = st.none() | st.booleans() | st.integers(-SAFE, SAFE) | floats | texts
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)


@given(values)
def test_what_is_encoded_is_decoded_to_the_same(value: Any) -> None:
    data = canonical.encode(value)
    again = canonical.decode(data)
    assert again == value
    assert canonical.encode(again) == data
    assert canonical.thaw(canonical.freeze(value)) == value


@given(st.dictionaries(texts, scalars, max_size=5), st.randoms())
def test_the_order_of_keys_says_nothing(value: dict[str, Any], chance: Any) -> None:
    keys = list(value)
    chance.shuffle(keys)
    assert canonical.digest({key: value[key] for key in keys}) == canonical.digest(value)


@given(st.binary(max_size=60) | texts.map(str.encode))
def test_no_bytes_are_more_than_refused(data: bytes) -> None:
    try:
        value = canonical.decode(data)
    except ManifestError:
        return
    assert canonical.decode(canonical.encode(value)) == value


@given(values, st.data())
def test_no_damage_to_json_is_more_than_refused(value: Any, data: st.DataObject) -> None:
    text = bytearray(json.dumps(value).encode())
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(text)))
        text[at : at + data.draw(st.integers(0, 2))] = data.draw(st.binary(max_size=2))
    try:
        again = canonical.decode(bytes(text))
    except ManifestError:
        return
    assert canonical.decode(canonical.encode(again)) == again


@given(texts, scalars, scalars)
def test_a_key_twice_is_always_refused(key: str, one: Any, two: Any) -> None:
    name = json.dumps(key)
    data = f"{{{name}: {json.dumps(one)}, {name}: {json.dumps(two)}}}".encode()
    with pytest.raises(ManifestError, match="duplicate key"):
        canonical.decode(data)


@given(st.integers() | st.floats())
def test_a_number_is_written_only_if_it_can_be_read(number: float) -> None:
    try:
        data = canonical.encode(number)
    except ManifestError:
        assert not math.isfinite(number) or abs(number) > SAFE
        return
    assert canonical.decode(data) == number


@given(st.integers(0, 2**48 - 1), st.binary(min_size=10, max_size=10), st.integers(0, 2**48 - 1))
def test_ulids_keep_their_time_and_its_order(now_ms: int, noise: bytes, other_ms: int) -> None:
    ulid, other = canonical.make_ulid(now_ms, noise), canonical.make_ulid(other_ms, noise)
    assert canonical.is_ulid(ulid)
    assert canonical.ulid_time_ms(ulid) == now_ms
    assert (ulid < other) == (now_ms < other_ms)


# -- records -------------------------------------------------------------------------------

lines = st.text(
    st.characters(exclude_categories=["Cs", "Cc", "Cf", "Zl", "Zp", "Cn", "Co"]), max_size=20
)
words = st.from_regex(r"[a-z0-9]{1,8}(?:[-_.][a-z0-9]{1,8}){0,2}", fullmatch=True).filter(
    lambda text: not text.endswith(".lock")
)
ulids = st.builds(
    canonical.make_ulid, st.integers(0, 2**48 - 1), st.binary(min_size=10, max_size=10)
)
digests = st.binary(max_size=4).map(canonical.digest_bytes)
oids = st.from_regex(r"[0-9a-f]{40}", fullmatch=True)
nonces = st.from_regex(r"[0-9a-f]{16,64}", fullmatch=True)
times = st.datetimes().map(lambda when: when.strftime("%Y-%m-%dT%H:%M:%SZ").zfill(20))
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


def test_every_kind_of_record_is_tried() -> None:
    assert set(RECORDS) == set(records.KINDS)


@pytest.mark.parametrize("kind", RECORDS)
@settings(max_examples=30)
@given(data=st.data())
def test_a_record_comes_back_as_it_was(kind: str, data: st.DataObject) -> None:
    record = data.draw(RECORDS[kind])
    written = records.to_bytes(record)
    again = records.parse(kind, written)
    assert again == record
    assert records.to_bytes(again) == written
    assert records.digest_of(again) == records.digest_of(record)


@pytest.mark.parametrize("kind", RECORDS)
@settings(max_examples=40)
@given(data=st.data())
def test_no_change_to_a_record_is_more_than_refused(kind: str, data: st.DataObject) -> None:
    document = records.to_json(data.draw(RECORDS[kind]))
    key = data.draw(st.sampled_from([*document, "later"]))
    document[key] = data.draw(values)
    try:
        again = records.from_json(kind, document)
    except KakeyaError as error:
        assert str(error)  # noqa: PT017 - nothing but our own errors is the point
        return
    if kind == "request":
        assert records.to_json(again) == {
            name: value for name, value in document.items() if value is not None
        } | {"predictions": document.get("predictions") or []}


# -- states, and chains replayed against the table -------------------------------------------------


@given(st.lists(st.sampled_from(Event), max_size=12))
def test_nothing_follows_the_one_end(events: list[Event]) -> None:
    try:
        state = replay(events)
    except IntegrityError:
        return
    ends = [event for event in events if event in TERMINAL_EVENTS]
    assert len(ends) <= 1
    assert (state in TERMINAL_STATES) == (len(ends) == 1)
    assert not ends or events[-1] is ends[0]
    assert events[0] is Event.REQUEST
    assert events.count(Event.REQUEST) == 1


def _record(chain: Chain, event: Event) -> Any:
    if event is Event.CLAIM:
        return samples.make_claim(chain)
    if event is Event.LOG:
        return samples.make_log(chain)
    if event is Event.REQUEUE:
        return samples.make_requeue(chain)
    return samples.make_result(chain, event)


@given(
    st.lists(st.sampled_from([event for event in Event if event is not Event.REQUEST]), max_size=9)
)
@settings(max_examples=60)
def test_a_chain_is_judged_by_the_table_alone(events: list[Event]) -> None:
    """Well-made commits in any order: the table says which of them count."""
    job = MemoryChain(samples.make_request(samples.make_id()))
    state, attempt = State.QUEUED, 1
    for event in events:
        before = job.read()
        author = runner_identity("mac-m4")
        job.append(
            compose_step(before, event, _record(before, event), author=author, when_s=WHEN_S)
        )
        after, allowed = job.read(), TRANSITIONS.get((state, event))
        if allowed is None:
            assert f"no {event} may follow the state {state}" in (after.fault or "")
            assert (after.head, after.links) == (before.head, before.links)
        else:
            state, attempt = allowed.state, attempt + (event is Event.REQUEUE)
            assert (after.fault, after.head) == (None, after.tip)
        assert (after.state, after.attempt) == (state, attempt)
        assert after.held == (after.claim_oid is not None and not after.ended)


# -- refs and objects ------------------------------------------------------------------------------


@given(words.filter(lambda text: len(text) <= 64), st.integers(0, 9), ulids)
def test_a_job_is_found_in_the_name_of_its_ref(label: str, priority: int, job_id: str) -> None:
    job = JobRef(label, priority, job_id)
    assert Refs().parse_job(Refs().job(job)) == job


pieces = st.sampled_from(
    ["job", "/", "any", "5", "a.lock", "..", "\n", "@{", "-", samples.make_id()]
)


@given(st.lists(pieces, max_size=7).map("".join) | texts)
def test_a_name_that_is_taken_apart_is_the_name_that_is_built(rest: str) -> None:
    ref = f"refs/heads/kakeya/{rest}"
    job = Refs().parse_job(ref)
    assert job is None or Refs().job(job) == ref


names = st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="/"), min_size=1)
paths = st.lists(names, min_size=1, max_size=3).map("/".join)
trees = st.dictionaries(paths, st.binary(max_size=20), min_size=1, max_size=8)


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> RawGit:
    git = RawGit(tmp_path_factory.mktemp("raw"))
    git.run("init", "--quiet", "--bare")
    return git


_scratch = itertools.count()


@given(files=trees, message=texts)
@settings(max_examples=25)
def test_every_commit_is_the_one_that_git_builds(
    raw: RawGit, files: dict[str, bytes], message: str
) -> None:
    who = Identity("a", "b@c")
    try:
        commit = build_commit(
            files, kept_files={}, parents=(), message=message, author=who, when_s=5
        )
    except IntegrityError:
        return  # a path that is git's own, or a file that is a folder too
    by_oid = {item.oid: item for item in commit.objects}
    rows = b"".join(
        b"100644 %s\t%s\0" % (raw.store("blob", data).encode(), path.encode())
        for path, data in files.items()
    )
    env = {"GIT_INDEX_FILE": str(Path(raw.path) / f"scratch-{next(_scratch)}")}
    raw.run("update-index", "-z", "--index-info", data=rows, env=env)
    assert raw.run("write-tree", env=env) in by_oid
    for item in commit.objects:
        assert raw.store(item.kind, item.data) == item.oid
    raw.point("refs/heads/main", commit.oid)
    found = raw.run("fsck", "--strict", "--no-dangling")
    assert "error" not in found


@given(files=trees, data=st.data())
def test_a_journal_is_whole_or_refused(files: dict[str, bytes], data: st.DataObject) -> None:
    try:
        commit = build_commit(
            files, kept_files={}, parents=(), message="m", author=Identity("a", "b"), when_s=0
        )
    except IntegrityError:
        return
    journal = bytearray(commit.to_bytes())
    assert objects_from_bytes(bytes(journal)) == (commit.oid, commit.objects)
    at = data.draw(st.integers(0, len(journal) - 1))
    journal[at] ^= data.draw(st.integers(1, 255))
    with pytest.raises(IntegrityError):
        objects_from_bytes(bytes(journal))


@given(st.binary(max_size=80))
def test_no_bytes_of_a_tree_are_more_than_refused(data: bytes) -> None:
    try:
        entries = parse_tree(data)
    except IntegrityError:
        return
    rebuilt = b"".join(
        mode.encode("ascii", "replace")
        + b" "
        + name.encode("utf-8", "surrogateescape")
        + b"\0"
        + bytes.fromhex(oid)
        for name, (mode, oid) in entries.items()
    )
    assert len(rebuilt) == len(data)
    assert GitObject("tree", data).kind == "tree"
