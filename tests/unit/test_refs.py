"""Names of refs: built from checked parts, parsed with nothing assumed."""

from __future__ import annotations

import pytest

from bridge.bus.profile import PROFILES, choose_profile
from bridge.bus.refs import JobRef, Refs, is_name
from bridge.errors import UsageError
from tests import samples

ID = samples.make_id()


@pytest.mark.parametrize(
    "root", ["refs/heads/kakeya", "refs/kakeya", "refs/heads/agents/a-7/kk", "refs/heads/v1.2"]
)
def test_every_name_lies_below_the_root(root: str) -> None:
    refs = Refs(root)
    job = JobRef("mac-m4", 0, ID)
    names = {
        refs.job(job),
        refs.heartbeat("mac-m4"),
        refs.wish(ID),
        refs.key("0" * 64),
        refs.code("1" * 40),
        refs.ledger,
    }
    assert len(names) == 6
    assert all(name.startswith(f"{root}/") for name in names)
    assert refs.parse_job(refs.job(job)) == job
    assert Refs(f"{root}x").parse_job(refs.job(job)) is None


@pytest.mark.parametrize(
    "root",
    [
        "",
        "kakeya",
        "refs",
        "refs/",
        "refs/heads/",
        "/refs/heads/x",
        "refs/heads/x/",
        "refs/heads//x",
        "refs/heads/../x",
        "refs/heads/x..y",
        "refs/heads/x.lock",
        "refs/heads/x.lock/y",
        "refs/heads/-x",
        "refs/heads/x\n",
        "refs/heads/x y",
        "refs/heads/x*",
        "refs/heads/größe",
        "+refs/heads/x:refs/heads/y",
        "--all",
    ],
)
def test_a_root_that_git_could_misread_is_refused(root: str) -> None:
    with pytest.raises(UsageError, match="is no root"):
        Refs(root)


@pytest.mark.parametrize("name", ["a", "mac-m4", "h200.eu_1", "a" * 64, "0", "a.locks"])
def test_names(name: str) -> None:
    assert is_name(name)
    assert Refs().heartbeat(name).endswith(f"/hb/{name}")


@pytest.mark.parametrize(
    "name",
    ["", "A", "-a", "a-", "a--b", "a..b", "a.", ".a", "a.lock", "a/b", "a b", "a\n", "ä", "a" * 65],
)
def test_what_is_no_name(name: str) -> None:
    assert not is_name(name)
    with pytest.raises(UsageError):
        Refs().heartbeat(name)
    with pytest.raises(UsageError):
        Refs().job(JobRef(name, 5, ID))
    assert Refs().parse_job(f"refs/heads/kakeya/job/{name}/5{ID}") is None


@pytest.mark.parametrize(
    "job", [JobRef("any", 10, ID), JobRef("any", -1, ID), JobRef("any", 5, "x")]
)
def test_a_job_that_cannot_be_a_ref_is_refused(job: JobRef) -> None:
    with pytest.raises(UsageError):
        Refs().job(job)
    with pytest.raises(UsageError):
        Refs().wish("../x")


def test_a_profile_suits_the_address() -> None:
    assert choose_profile(None, "https://github.com/a/b").name == "github"
    assert choose_profile(None, "git@github.com:a/b.git").name == "github"
    assert choose_profile(None, "ssh://box/bus.git").name == "self-hosted"
    assert choose_profile(None, "alice@box:bus.git").name == "self-hosted"
    assert choose_profile(None, "../bus.git").name == "local"
    assert choose_profile("github", "../bus.git").name == "github"
    with pytest.raises(UsageError, match="no profile is called 'fast'"):
        choose_profile("fast", "x")


@pytest.mark.parametrize("profile", PROFILES.values(), ids=lambda profile: profile.name)
def test_a_lease_is_at_least_five_heartbeats(profile: object) -> None:
    assert profile.lease_s >= 5 * profile.heartbeat_s  # type: ignore[attr-defined]
    assert profile.poll_min_s <= profile.poll_max_s <= profile.heartbeat_s  # type: ignore[attr-defined]
