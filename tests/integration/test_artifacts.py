"""What one job leaves is another one's input: by digest, small or large, live or folded."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bridge import proc
from bridge.bus.chain import Chain
from bridge.canonical import digest_bytes
from bridge.client.api import Client
from bridge.client.outcomes import Submission
from bridge.errors import IntegrityError, ManifestError, MissingArtifactError, UsageError
from bridge.states import State
from bridge.wire import digest_of
from tests.integration.client_rig import Listener, TurnedClock, open_client
from tests.lab import Lab, make_bare, open_lab
from tests.rawgit import RawGit
from tests.relay import make_relay_checkout

_LARGE = "large/noise.bin"


@pytest.fixture(scope="module")
def relay(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_relay_checkout(tmp_path_factory.mktemp("relay") / "trusted")


@pytest.fixture(scope="module")
def lab(relay: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A lab with one runner and a first job that left a small and a large artifact."""
    folder = tmp_path_factory.mktemp("lab")
    make_bare(folder / "bus.git")
    found = open_lab(relay, str(folder / "bus.git"), folder / "lab")
    with found.runner("lab-a", artifacts={"art_mb": 20}):
        yield found
    found.bus.close()


@pytest.fixture(scope="module")
def client(lab: Lab, relay: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    cache = tmp_path_factory.mktemp("client")
    found = open_client(lab.url, relay, cache, TurnedClock().clock, Listener())
    yield found
    found.close()


@pytest.fixture(scope="module")
def first(lab: Lab) -> Chain:
    chain = lab.wait(lab.submit("relay", {"artifact_mb": 12}))
    assert chain.state is State.DONE, lab.words("lab-a")
    return chain


def _noise(megabytes: int) -> bytes:
    return b"".join(hashlib.shake_256(str(n).encode()).digest(2**20) for n in range(megabytes))


def _end(lab: Lab, submission: Submission) -> Chain:
    return lab.wait(submission.ref)


def _record(lab: Lab, chain: Chain) -> dict[str, Any]:
    data: dict[str, Any] = json.loads(lab.bus.read(chain.files["evidence.json"]))
    return data


def test_a_large_artifact_lies_at_a_ref_of_its_own(lab: Lab, first: Chain) -> None:
    assert first.result is not None
    left = {item.path: item for item in first.result.artifacts}
    assert sorted(left) == [_LARGE, "small.txt"]
    assert left[_LARGE].sha256 == digest_bytes(_noise(12))
    assert f"artifacts/{_LARGE}" not in first.files
    tip = RawGit(Path(lab.url)).run(
        "log", "-1", "--format=%s", f"refs/heads/kakeya/art/{left[_LARGE].sha256[7:]}"
    )
    assert tip.startswith(f"kakeya: artifact of {first.job.id}, sha256 ")
    assert _record(lab, first)["left"] == []


@pytest.mark.parametrize("path", ["small.txt", _LARGE])
def test_one_artifact_is_fetched_and_checked(
    path: str, client: Client, first: Chain, tmp_path: Path
) -> None:
    item = client.artifact(first.job.id, path, tmp_path / "it")
    assert digest_bytes((tmp_path / "it").read_bytes()) == item.sha256
    assert sorted(place.name for place in tmp_path.iterdir()) == ["it"]


def test_results_bring_large_artifacts_too(client: Client, first: Chain, tmp_path: Path) -> None:
    results = client.results(first.job.id, tmp_path / "all")
    assert (tmp_path / "all" / "artifacts" / _LARGE).read_bytes() == _noise(12)
    assert f"artifacts/{_LARGE}" in results.files
    assert results.left == {}


@pytest.mark.parametrize("path", ["small.txt", _LARGE])
def test_another_job_takes_it_by_its_digest(
    path: str, lab: Lab, client: Client, first: Chain
) -> None:
    submission = client.submit("relay-on", {"base": f"{first.job.id}:{path}"})
    (source,) = submission.request.sources
    assert submission.request.params["base"] == source.digest  # frozen, whatever becomes of names
    assert (source.job, source.path) == (first.job.id, path)
    chain = _end(lab, submission)
    assert chain.state is State.DONE, lab.words("lab-a")
    seen = lab.bus.read(chain.files["artifacts/seen.txt"]).decode()
    assert f"sha256:{seen}" == source.digest
    (used,) = _record(lab, chain)["inputs"]
    assert (used["role"], used["digest"]) == ("base", source.digest)
    assert used["uri"] == f"artifact:{first.job.id}:{path}"


def test_a_digest_alone_finds_what_has_a_ref(lab: Lab, client: Client, first: Chain) -> None:
    chain = _end(lab, client.submit("relay-on", {"base": digest_bytes(_noise(12))}))
    assert chain.state is State.DONE, lab.words("lab-a")


def test_a_digest_that_nobody_has_fails_the_job_with_its_name(
    lab: Lab, client: Client, first: Chain
) -> None:
    wanted = digest_bytes(b"never made")
    chain = _end(lab, client.submit("relay-on", {"base": wanted}))
    assert chain.state is State.FAILED
    assert chain.result is not None
    assert "the input base cannot be had" in chain.result.message
    assert "the bus holds no artifact of this digest" in chain.result.message


def test_a_retry_names_the_same_source(lab: Lab, client: Client, first: Chain) -> None:
    submission = client.submit("relay-on", {"base": f"{first.job.id}:small.txt"})
    _end(lab, submission)
    again = client.retry(submission.id)
    assert again.request.sources == submission.request.sources
    assert digest_of(again.request) != digest_of(submission.request)
    assert _end(lab, again).state is State.DONE


@pytest.mark.parametrize(
    ("named", "why"),
    [
        (
            "{id}:no-such.txt",
            "it left no artifact 'no-such.txt'; there are: small.txt, large/noise.bin",
        ),
        ("01J00000000000000000000000:small.txt", "no job"),
        ("{id}", "is no digest"),
    ],
)
def test_a_name_that_leads_nowhere_is_told_at_its_path(
    named: str, why: str, client: Client, first: Chain
) -> None:
    with pytest.raises(ManifestError) as caught:
        client.submit("relay-on", {"base": named.format(id=first.job.id)})
    (problem,) = caught.value.problems
    assert problem.startswith("$.params.base: ")
    assert why in problem


def test_what_is_larger_than_the_runner_takes_is_left_and_named(lab: Lab) -> None:
    chain = lab.wait(lab.submit("relay", {"artifact_mb": 24}))
    assert chain.state is State.DONE
    (left,) = _record(lab, chain)["left"]
    assert left.startswith("large/noise.bin: 24 MiB, a ref of its own takes 20 MiB")


def test_the_command_line_fetches_one(lab: Lab, first: Chain, relay: Path, tmp_path: Path) -> None:
    import sys

    argv = [sys.executable, "-m", "bridge.cli.main", "results", first.job.id]
    argv += ["--bus", lab.url, "--artifact", "small.txt"]
    env = {**proc.base_env(), "PYTHONPATH": str(relay), "KAKEYA_CACHE": str(tmp_path / "cache")}
    done = proc.run([*argv, "-o", "-"], cwd=relay, env=env, timeout_s=60)
    assert done.stdout == b"small, and left with the result", done.stderr
    named = str(tmp_path / "here.txt")
    done = proc.run([*argv, "-o", named, "--json"], cwd=relay, env=env, timeout_s=60)
    told = json.loads(done.stdout)
    assert (told["schema"], told["path"], told["file"]) == ("kakeya.artifact/1", "small.txt", named)
    assert digest_bytes(Path(named).read_bytes()) == told["sha256"]


def test_of_a_folded_job_all_of_it_is_found_as_before(
    lab: Lab, client: Client, first: Chain, tmp_path: Path
) -> None:
    assert first.job.id in client.fold().ids
    for path in ("small.txt", _LARGE):
        client.artifact(first.job.id, path, tmp_path / "it")
        chain = _end(lab, client.submit("relay-on", {"base": f"{first.job.id}:{path}"}))
        assert chain.state is State.DONE, lab.words("lab-a")


def test_an_artifact_that_is_gone_or_wrong_is_told(
    lab: Lab, client: Client, tmp_path: Path
) -> None:
    chain = lab.wait(lab.submit("relay", {"artifact_mb": 9}))
    raw = RawGit(Path(lab.url))
    ref = f"refs/heads/kakeya/art/{digest_bytes(_noise(9))[7:]}"
    raw.point(ref, raw.commit({"x": b"y"}, message="rubbish"))
    with pytest.raises(IntegrityError, match="no artifact lies there"):
        client.artifact(chain.job.id, _LARGE, tmp_path / "it")
    raw.run("update-ref", "-d", ref)
    with pytest.raises(MissingArtifactError):
        client.artifact(chain.job.id, _LARGE, tmp_path / "it")
    results = client.results(chain.job.id, tmp_path / "all")  # the rest is there
    assert list(results.left) == [f"artifacts/{_LARGE}"]
    assert (tmp_path / "all" / "evidence.json").is_file()
    with pytest.raises(UsageError, match="it left no artifact"):
        client.artifact(chain.job.id, "../evidence.json", tmp_path / "it")
