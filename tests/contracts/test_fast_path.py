"""The fast path beside git: the same bus, fewer processes, and git wherever it is surprised."""

from __future__ import annotations

import http.client
import secrets
import socket
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import psutil
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from bridge.bus.refs import Refs
from bridge.bus.remote import Outcome, Update
from bridge.bus.requester import RequesterBus
from bridge.errors import BusError
from bridge.git import FastGit
from bridge.git.pktline.lines import Mark, encode
from bridge.git.pktline.pack import build_pack
from bridge.objects import GitObject
from bridge.states import Event, State
from tests.actors import FAST, Actor, open_bus
from tests.contracts.test_bus_ledger import sign
from tests.rawgit import RawGit
from tests.servers.mangling import HTML, Mangler, Reply, mangle
from tests.servers.smart_http import PASSWORD, USER
from tests.servers.transport import Remote, Transport

WHOLE_LIFE = (Event.CLAIM, Event.LOG, Event.DONE)


@pytest.fixture
def transport(serve: Callable[[str], Transport], monkeypatch: pytest.MonkeyPatch) -> Transport:
    found = serve("fast")
    monkeypatch.setenv("KAKEYA_FAST_PATH", "true")
    return found


@pytest.fixture
def remote(transport: Transport) -> Remote:
    return transport.create()


@pytest.fixture
def between(transport: Transport) -> Iterator[Mangler]:
    with mangle(transport.address) as mangler:
        yield mangler


def surprises(actor: Actor) -> list[str]:
    assert actor.bus.fast is not None
    return actor.bus.fast.surprises


def test_a_whole_life_needs_no_git_process(remote: Remote, tmp_path: Path) -> None:
    client = Actor(open_bus(remote.url, tmp_path / "client"), "client")
    runner = Actor(open_bus(remote.url, tmp_path / "runner", init=False))
    ref = client.submit()
    assert set(runner.bus.poll().jobs) == {ref}
    assert runner.advance(ref, *WHOLE_LIFE).state is State.DONE
    assert client.bus.load(ref).state is State.DONE
    (job_id,) = runner.bus.fold([ref], sign())
    assert client.bus.find(job_id) == ref
    assert client.bus.load(ref).archive
    assert (surprises(client), surprises(runner)) == ([], [])
    for actor in (client, runner):
        for clone in actor.bus._cache._clones.values():
            assert isinstance(clone, FastGit)
            assert not clone._used_git
    started = psutil.Process().children(recursive=True)
    assert [child for child in started if child.name() == "git"] == []
    RawGit(remote.path).run("fsck", "--strict", "--no-dangling")
    client.bus.close()
    runner.bus.close()


def test_one_setting_leaves_everything_to_git(remote: Remote, tmp_path: Path) -> None:
    open_bus(remote.url, tmp_path / "first").close()
    bus = RequesterBus(remote.url, tmp_path / "bus", refs=Refs(), profile=FAST, fast=False)
    assert bus.fast is None
    assert bus.poll().jobs == {}
    assert not any(isinstance(clone, FastGit) for clone in bus._cache._clones.values())
    bus.close()


@pytest.mark.parametrize(
    ("name", "value"),
    [("http.proxy", "http://127.0.0.1:9"), ("url.http://x/.insteadOf", "http://")],
)
def test_what_a_person_told_git_of_the_way_is_left_to_git(
    remote: Remote,
    between: Mangler,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    value: str,
) -> None:
    open_bus(remote.url, tmp_path / "first").close()
    for key, text in (("COUNT", "1"), ("KEY_0", name), ("VALUE_0", value)):
        monkeypatch.setenv(f"GIT_CONFIG_{key}", text)
    bus = open_bus(f"{between.address}/{remote.path.name}", tmp_path / "bus", init=False)
    with suppress(BusError):
        bus.poll()
    assert between.seen == []
    bus.close()


def test_a_large_reply_comes_by_git(remote: Remote, tmp_path: Path) -> None:
    actor = Actor(open_bus(remote.url, tmp_path / "one"))
    other = Actor(open_bus(remote.url, tmp_path / "two", init=False))
    ref = actor.submit()
    noise = {f"artifacts/{number}": bytes(200_000) for number in range(10)}
    actor.step(actor.advance(ref, Event.CLAIM), Event.LOG, files=noise)
    assert other.bus.fast is not None
    other.bus.fast.max_object_bytes = 100_000
    assert other.bus.load(ref).state is State.RUNNING
    assert len(surprises(other)) == 1
    assert other.advance(ref, Event.DONE).state is State.DONE
    assert other.bus.read(other.bus.load(ref).files["artifacts/3"]) == bytes(200_000)
    actor.bus.close()
    other.bus.close()


def test_memory_that_is_full_is_begun_again(remote: Remote, tmp_path: Path) -> None:
    actor = Actor(open_bus(remote.url, tmp_path))
    assert actor.bus.fast is not None
    actor.bus.fast.max_held_bytes = 1
    ref = actor.submit()
    chain = actor.advance(ref, *WHOLE_LIFE[:2])
    assert actor.bus.read(chain.files["request.json"])
    assert set(actor.bus.poll().jobs) == {ref}
    assert actor.step(chain, Event.DONE) is Outcome.WON
    assert sum(clone.held_bytes for clone in _clones(actor)) < 20_000
    actor.bus.close()


def _clones(actor: Actor) -> list[FastGit]:
    found = actor.bus._cache._clones.values()
    return [clone for clone in found if isinstance(clone, FastGit)]


def test_a_server_that_closes_idle_connections_is_asked_again(
    remote: Remote, between: Mangler, tmp_path: Path
) -> None:
    actor = Actor(open_bus(f"{between.address}/{remote.path.name}", tmp_path))
    ref = actor.submit()
    assert actor.bus.fast is not None
    kept = actor.bus.fast._session._connection
    assert isinstance(kept, http.client.HTTPConnection)
    kept.sock.shutdown(socket.SHUT_RDWR)
    assert actor.advance(ref, Event.CLAIM).state is State.CLAIMED
    assert surprises(actor) == []
    actor.bus.close()


def test_an_idle_poll_asks_for_no_object(remote: Remote, between: Mangler, tmp_path: Path) -> None:
    actor = Actor(open_bus(f"{between.address}/{remote.path.name}", tmp_path))
    for _ in range(3):
        actor.submit()
    actor.bus.poll()
    between.seen.clear()
    between.reply_bytes.clear()
    actor.bus.poll()
    assert between.seen == ["refs"]
    assert between.reply_bytes[0] < 500
    actor.bus.close()


def test_reading_on_fetches_only_what_is_new(
    remote: Remote, between: Mangler, tmp_path: Path
) -> None:
    writer = Actor(open_bus(remote.url, tmp_path / "writer"))
    reader = Actor(open_bus(f"{between.address}/{remote.path.name}", tmp_path / "r", init=False))
    ref = writer.submit()
    writer.advance(ref, Event.CLAIM)
    noise = {"logs/1-000001.txt": secrets.token_bytes(200_000)}
    assert writer.step(writer.bus.load(ref), Event.LOG, files=noise) is Outcome.WON
    assert reader.bus.load(ref).log_sequence == 1
    assert max(between.reply_bytes) > 200_000
    between.reply_bytes.clear()
    writer.advance(ref, Event.LOG)
    assert reader.bus.load(ref).log_sequence == 2
    assert max(between.reply_bytes) < 10_000
    writer.bus.close()
    reader.bus.close()


# -- who is let in ------------------------------------------------------------------------------


def _helper(folder: Path, password: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A credential helper that notes what it is asked, and knows one password."""
    log, program = folder / "asked", folder / "helper"
    answer = f"echo username={USER}; echo password={password}"
    program.write_text(f'#!/bin/sh\necho "$1" >> {log}\ntest "$1" != get || {{ {answer}; }}\n')
    program.chmod(0o755)
    log.touch()
    for key, text in (("COUNT", "1"), ("KEY_0", "credential.helper"), ("VALUE_0", str(program))):
        monkeypatch.setenv(f"GIT_CONFIG_{key}", text)
    return log


def test_a_helper_is_told_that_its_password_was_taken(
    transport: Transport, remote: Remote, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = _helper(tmp_path, PASSWORD, monkeypatch)
    url = f"{transport.variants['locked']}/{remote.path.name}"
    actor = Actor(open_bus(url, tmp_path / "bus"))
    assert actor.advance(actor.submit(), *WHOLE_LIFE).state is State.DONE
    assert log.read_text().split() == ["get", "store"]  # once, for a whole life
    assert surprises(actor) == []
    actor.bus.close()


def test_a_helper_is_told_that_its_password_was_not_taken(
    transport: Transport, remote: Remote, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = _helper(tmp_path, "not-this-one", monkeypatch)
    url = f"{transport.variants['locked']}/{remote.path.name}"
    actor = Actor(open_bus(url, tmp_path / "bus", init=False))
    with pytest.raises(BusError, match="Authentication failed"):
        actor.bus.poll()
    assert log.read_text().split()[:2] == ["get", "erase"]
    assert len(surprises(actor)) == 1
    actor.bus.close()


def _certificate(folder: Path) -> Path:
    """A certificate of 127.0.0.1 that signs itself, with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    address = x509.IPAddress(ip_address("127.0.0.1"))
    built = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    encoding = serialization.Encoding.PEM
    secret = key.private_bytes(
        encoding, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path = folder / "certificate.pem"
    path.write_bytes(secret + built.public_bytes(encoding))
    return path


def test_https_is_spoken_with_whom_this_machine_trusts(
    transport: Transport, remote: Remote, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate = _certificate(tmp_path)
    with mangle(transport.address, certificate) as between:
        url = f"{between.address}/{remote.path.name}"
        stranger = Actor(open_bus(url, tmp_path / "stranger", init=False))
        with pytest.raises(BusError):
            stranger.bus.poll()
        assert between.seen == []
        assert "certificate" in surprises(stranger)[0].lower()
        stranger.bus.close()
        monkeypatch.setenv("GIT_SSL_CAINFO", str(certificate))
        actor = Actor(open_bus(url, tmp_path / "bus"))
        assert actor.advance(actor.submit(), *WHOLE_LIFE).state is State.DONE
        assert surprises(actor) == []
        actor.bus.close()


# -- hostile replies ---------------------------------------------------------------------------


def _change(**changes: object) -> Callable[[Reply], None]:
    def spoil(reply: Reply) -> None:
        for name, value in changes.items():
            setattr(reply, name, value)

    return spoil


def _rewrite(change: Callable[[bytes], bytes]) -> Callable[[Reply], None]:
    def spoil(reply: Reply) -> None:
        reply.body = change(reply.body)

    return spoil


def _flip(body: bytes) -> bytes:
    middle = len(body) // 2
    return body[:middle] + bytes([body[middle] ^ 0x55]) + body[middle + 1 :]


def _in_bands(data: bytes) -> bytes:
    return encode(b"\x01" + data, Mark.FLUSH)


def _pack_of(*objects: GitObject) -> Callable[[bytes], bytes]:
    return lambda _: encode(b"packfile\n") + _in_bands(build_pack(objects))


ANY: dict[str, Callable[[Reply], None]] = {
    "cut off": _rewrite(lambda body: body[:-3]),
    "empty": _rewrite(lambda _: b""),
    "a length that is none": _rewrite(lambda body: b"zzzz" + body[4:]),
    "a length beyond the end": _rewrite(lambda body: b"fff0" + body[4:]),
    "a page of HTML": _change(kind="text/html", body=HTML),
    "HTML that calls itself git": _change(body=HTML),
    "an inner error": _change(status=500, kind="text/plain", body=b"oops"),
    "too many requests": _change(status=429, headers={"Retry-After": "1"}),
    "a way elsewhere": _change(status=302, headers={"Location": "http://127.0.0.1:9/x.git"}),
    "less than announced": _change(missing=7),
    "an endless page": _change(endless=True),
    "another way to log in": _change(status=401, headers={"WWW-Authenticate": "Negotiate"}),
}
SPECIAL: dict[tuple[str, str], Callable[[Reply], None]] = {
    ("advertise", "protocol 1"): _rewrite(lambda _: encode(b"version 1\n", Mark.FLUSH)),
    ("advertise", "another hash"): _rewrite(
        lambda body: body.replace(b"object-format=sha1", b"object-format=sha2")
    ),
    ("refs", "no ref"): _rewrite(lambda _: encode(b"HEAD -> main\n", Mark.FLUSH)),
    ("fetch", "a changed byte"): _rewrite(_flip),
    ("fetch", "another section"): _rewrite(lambda _: encode(b"packfile-uris\n", Mark.FLUSH)),
    ("fetch", "an error in its own band"): _rewrite(
        lambda _: encode(b"packfile\n", b"\x03out of memory", Mark.FLUSH)
    ),
    ("fetch", "what was not asked for"): _rewrite(_pack_of(GitObject("blob", b"gift"))),
    ("fetch", "nothing"): _rewrite(_pack_of()),
    ("push", "a report of another ref"): _rewrite(
        lambda _: _in_bands(encode(b"unpack ok\n", b"ok refs/heads/other\n", Mark.FLUSH))
    ),
    ("push", "a report of no ref"): _rewrite(
        lambda _: _in_bands(encode(b"unpack ok\n", Mark.FLUSH))
    ),
}
CASES = [(place, kind, spoil) for kind, spoil in ANY.items() for place in ("refs", "fetch", "push")]
CASES += [(place, kind, spoil) for (place, kind), spoil in SPECIAL.items()]
CASES += [("advertise", kind, ANY[kind]) for kind in ("a page of HTML", "cut off")]


@pytest.mark.parametrize(("place", "kind", "spoil"), CASES, ids=[f"{c[0]}: {c[1]}" for c in CASES])
def test_git_goes_on_after_a_surprise(
    remote: Remote,
    between: Mangler,
    tmp_path: Path,
    place: str,
    kind: str,
    spoil: Callable[[Reply], None],
) -> None:
    helper = Actor(open_bus(remote.url, tmp_path / "helper"))
    ref = helper.submit()
    url = f"{between.address}/{remote.path.name}"
    actor = Actor(open_bus(url, tmp_path / "bus", init=False))
    if place != "advertise":
        assert actor.bus.identity() == helper.bus.identity()
    between.spoil[place] = spoil
    chain = actor.bus.load(ref)
    claim = actor.compose(chain, Event.CLAIM)
    assert actor.bus.swap([Update(ref, chain.tip, claim)]) == (Outcome.WON,), kind
    assert helper.bus.load(ref).claim_oid == claim.oid
    assert ref in actor.bus.poll().jobs
    assert len(surprises(actor)) == 1  # then it rested, and git alone was used
    assert between.sent_bytes < 200 * 2**20
    actor.bus.close()
    helper.bus.close()


@pytest.mark.parametrize("place", ["refs", "fetch", "push"])
def test_a_reply_that_drips_is_given_up_in_time(
    remote: Remote, between: Mangler, tmp_path: Path, place: str
) -> None:
    helper = Actor(open_bus(remote.url, tmp_path / "helper"))
    ref = helper.submit()
    chain = helper.bus.load(ref)
    url = f"{between.address}/{remote.path.name}"
    hasty = replace(FAST, network_timeout_s=3.0)
    bus = RequesterBus(url, tmp_path / "bus", refs=Refs(), profile=hasty)
    actor = Actor(bus)
    assert actor.bus.identity() == helper.bus.identity()
    between.spoil[place] = _change(drip_s=0.5)
    claim = actor.compose(chain, Event.CLAIM)
    if place == "push":
        actor.bus.load(ref)
        # the reply was lost, the swap was not: git finds it
        assert actor.bus.swap([Update(ref, chain.tip, claim)]) == (Outcome.WON,)
    else:
        with pytest.raises(BusError, match="no answer within 3 s"):
            actor.bus.load(ref)
        assert actor.bus.swap([Update(ref, chain.tip, claim)]) == (Outcome.WON,)
    assert surprises(actor) == ["no answer within 3 s"]
    actor.bus.close()
    helper.bus.close()
