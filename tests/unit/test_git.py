"""The few verbs of git that the bridge needs, on real repositories."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from bridge.errors import BusError, CacheError, IntegrityError, MissingPartError, UsageError
from bridge.git import Git, check_url, git_version, scrub_environment
from bridge.git.answers import (
    explain,
    is_empty_match,
    is_full_disk,
    is_network,
    parse_push,
    remedy,
    says_no,
)
from bridge.objects import GitObject
from tests.rawgit import RawGit


@pytest.fixture
def raw(tmp_path: Path) -> RawGit:
    folder = tmp_path / "checkout"
    folder.mkdir()
    git = RawGit(folder)
    git.run("init", "--quiet", "--initial-branch=main")
    (folder / "a.py").write_text("print(1)\n")
    (folder / "run.sh").write_text("#!/bin/sh\n")
    (folder / "run.sh").chmod(0o755)
    (folder / "sub").mkdir()
    (folder / "sub" / "größe.txt").write_bytes(b"\0\xff")
    (folder / "link").symlink_to("/etc/passwd")
    git.run("add", "--all")
    git.run("-c", "user.name=a", "-c", "user.email=b@c", "commit", "-qm", "one")
    return git


@pytest.fixture
def checkout(raw: RawGit) -> Iterator[Git]:
    git = Git.find(raw.path / "sub")
    assert git is not None
    yield git
    git.close()


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[Git]:
    git = Git.create_cache(tmp_path / "cache", timeout_s=20)
    yield git
    git.close()


# -- addresses and surroundings ------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        "/srv/bus.git",
        "../bus.git",
        "C:/bus.git",
        "alice@box:bus.git",
        "ssh://box:22/bus.git",
        "https://h/x.git",
        "git://[::1]/bus.git",
        "file:///srv/bus git",
    ],
)
def test_an_address(url: str) -> None:
    assert check_url(url) == url


@pytest.mark.parametrize(
    "url",
    ["", "-x", "--upload-pack=touch /tmp/x", "ext::sh -c id", "fd::7", "a\nb", "a\x00", "x\u202e"],
)
def test_what_git_could_misread_is_no_address(url: str) -> None:
    with pytest.raises(UsageError, match="is no address"):
        check_url(url)


def test_variables_of_a_calling_git_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_DIR", "/x")
    monkeypatch.setenv("GIT_QUARANTINE_PATH", "/x")
    monkeypatch.setenv("GIT_SSH_COMMAND", "ssh -F x")
    monkeypatch.setenv("GIT_CONFIG_COUNT", "0")
    scrub_environment()
    left = {name for name in os.environ if name.startswith("GIT_")}
    assert left >= {"GIT_SSH_COMMAND", "GIT_CONFIG_COUNT"}
    assert not left & {"GIT_DIR", "GIT_QUARANTINE_PATH"}


def test_no_git_is_told_with_its_remedy(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, raw: RawGit
) -> None:
    assert git_version() >= (2, 36)
    monkeypatch.setenv("PATH", str(tmp_path))
    for ask in (git_version, lambda: Git(raw.path)):
        with pytest.raises(MissingPartError, match="git is not installed") as caught:
            ask()
        assert "install git" in caught.value.remedy


# -- a person's checkout -------------------------------------------------------------------


def test_a_checkout_is_found_from_below_and_from_nowhere_else(raw: RawGit, tmp_path: Path) -> None:
    found = Git.find(raw.path / "sub")
    assert found is not None
    assert found.path == raw.path / ".git"
    found.close()
    assert Git.find(tmp_path) is None
    with pytest.raises(UsageError, match="is no git repository"):
        Git(tmp_path)


def test_a_checkout_is_read_and_not_changed(checkout: Git, raw: RawGit) -> None:
    head = raw.tip("HEAD")
    assert checkout.resolve("HEAD") == checkout.resolve("main") == head
    assert checkout.resolve(head[:8]) == head
    for revision in ("--all", "-x", "no-such", "HEAD:a.py", "HEAD^{tree}", "HEAD^", "a b", ""):
        assert checkout.resolve(revision) is None
    assert checkout.tree_of(head) == raw.run("rev-parse", "HEAD^{tree}")
    modes = {path: mode for path, (mode, _) in checkout.list_files(head).items()}
    assert modes == {
        "a.py": "100644",
        "run.sh": "100755",
        "link": "120000",
        "sub/größe.txt": "100644",
    }
    assert set(checkout.list_files(head, "sub/")) == {"sub/größe.txt"}
    assert checkout.read(raw.run("rev-parse", "HEAD:sub/größe.txt")) == ("blob", b"\0\xff")
    assert checkout.changed_files() == ()


def test_dirty_files_are_seen_however_they_hide(checkout: Git, raw: RawGit) -> None:
    (raw.path / "a.py").write_text("print(2)\n")
    (raw.path / "new file").write_text("")
    (raw.path / "run.sh").unlink()
    assert set(checkout.changed_files()) == {"a.py", "new file", "run.sh"}
    raw.run("update-index", "--assume-unchanged", "a.py")
    assert "a.py" not in checkout.changed_files()
    assert checkout.hidden_files() == ("a.py",)


def test_ancestors(checkout: Git, raw: RawGit) -> None:
    old = raw.tip("HEAD")
    raw.run("-c", "user.name=a", "-c", "user.email=b@c", "commit", "--allow-empty", "-qm", "two")
    new = raw.tip("HEAD")
    assert checkout.is_ancestor(old, new)
    assert checkout.is_ancestor(new, new)
    assert not checkout.is_ancestor(new, old)
    assert not checkout.is_ancestor("1" * 40, new)


def test_export_writes_files_and_nothing_that_acts(
    checkout: Git, raw: RawGit, tmp_path: Path
) -> None:
    blob = raw.store("blob", b"x")
    inner = raw.tree({"config": ("100644", blob)})
    tree = raw.tree(
        {
            ".gitattributes": ("100644", raw.store("blob", b"* filter=evil text eol=crlf\n")),
            "text": ("100644", raw.store("blob", b"a\nb\n")),
            "link": ("120000", raw.store("blob", b"/etc/passwd")),
            "module": ("160000", "1" * 40),
            ".git": ("40000", inner),
            ".GIT": ("40000", inner),
            "git~1": ("40000", inner),
            "..": ("40000", inner),
        }
    )
    raw.run("config", "filter.evil.smudge", f"touch {tmp_path}/ran")
    out = tmp_path / "deep" / "out"
    checkout.export(raw.commit(tree, message="m"), out)
    assert {str(path.relative_to(out)) for path in out.rglob("*")} == {".gitattributes", "text"}
    assert (out / "text").read_bytes() == b"a\nb\n"
    assert not (tmp_path / "ran").exists()
    checkout.export(raw.tip("HEAD"), tmp_path / "head")
    assert os.access(tmp_path / "head" / "run.sh", os.X_OK)
    assert not os.access(tmp_path / "head" / "a.py", os.X_OK)
    with pytest.raises(FileExistsError):
        checkout.export(raw.tip("HEAD"), tmp_path / "head")


# -- objects and refs ----------------------------------------------------------------------


def test_objects_are_stored_as_git_stores_them(cache: Git) -> None:
    objects = [GitObject("blob", b""), GitObject("blob", b"x" * 100_000), GitObject("tree", b"")]
    cache.store(objects * 2)
    for item in objects:
        assert cache.has(item.oid)
        assert cache.read(item.oid) == (item.kind, item.data)
    assert cache.is_sound()
    assert not list(cache.path.rglob("tmp_obj_*"))


@pytest.mark.parametrize(
    "oid", ["", "HEAD", "1" * 39, "1" * 40 + "\n", "--batch", "a\nb", "1" * 40]
)
def test_what_is_not_here_is_told(cache: Git, oid: str) -> None:
    with pytest.raises(IntegrityError, match=r"is no object id|is not here"):
        cache.read(oid)


def test_a_cache_that_cannot_be_written_says_so(cache: Git) -> None:
    (cache.path / "objects").rename(cache.path / "elsewhere")
    with pytest.raises(CacheError, match="cannot be written") as caught:
        cache.store([GitObject("blob", b"y")])
    assert caught.value.where == str(cache.path)
    assert not cache.is_sound()


def test_a_cache_knows_whether_it_was_replaced(tmp_path: Path) -> None:
    one = Git.create_cache(tmp_path / "cache")
    same = Git.create_cache(tmp_path / "cache")
    assert one.is_current()
    (tmp_path / "cache" / "HEAD").unlink()
    other = Git.create_cache(tmp_path / "cache")
    assert other.is_current()
    assert not one.is_current()
    assert not same.is_current()
    for git in (one, same, other):
        git.close()


def test_a_bus_is_not_made_over_something_else(tmp_path: Path, raw: RawGit) -> None:
    made = Git.create_bare(tmp_path / "bus.git", [("receive.maxInputSize", "5")])
    assert made.config("receive.maxInputSize") == "5"
    again = Git.create_bare(tmp_path / "bus.git", [("receive.maxInputSize", "6")])
    assert again.config("receive.maxInputSize") == "6"
    made.close()
    again.close()
    (tmp_path / "file").write_text("")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").write_text("")
    for path in (raw.path, tmp_path / "file", tmp_path / "full"):
        with pytest.raises(UsageError):
            Git.create_bare(path, [])


# -- a remote ------------------------------------------------------------------------------


def test_fetch_and_push_take_the_address_that_is_named(cache: Git, raw: RawGit) -> None:
    url, head = str(raw.path), raw.tip("HEAD")
    assert cache.list_remote(url, [])["refs/heads/main"] == head
    cache.fetch(url, ["+refs/heads/main:refs/x/main"])
    assert cache.tip_of("refs/x/main") == head
    assert set(cache.list_refs("refs/x/")) == {"refs/x/main"}
    reply = cache.push(url, [("refs/heads/b", None, head)], atomic=False)
    assert reply.accepts(["refs/heads/b"])
    assert raw.tip("refs/heads/b") == head
    stale = cache.push(url, [("refs/heads/b", "1" * 40, None)], atomic=False)
    assert not stale.accepts(["refs/heads/b"])
    assert stale.is_refusal
    assert cache.push(url, [("refs/heads/b", head, None)], atomic=False).accepts(["refs/heads/b"])
    assert "refs/heads/b" not in cache.list_remote(url, [])
    with pytest.raises(BusError, match="couldn't find remote ref") as caught:
        cache.fetch(url, ["+refs/heads/b:refs/x/b"])
    assert caught.value.where == url
    cache.delete_ref("refs/x/main")
    assert cache.list_refs("refs/x/") == {}


def test_what_the_user_rewrites_is_rewritten(
    cache: Git, raw: RawGit, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {
        "COUNT": "1",
        "KEY_0": f"url.{raw.path.parent}/.insteadOf",
        "VALUE_0": "https://example.invalid/",
    }.items():
        monkeypatch.setenv(f"GIT_CONFIG_{name}", value)
    assert cache.list_remote("https://example.invalid/checkout", ["HEAD"])["HEAD"] == raw.tip(
        "HEAD"
    )


# -- what git says -------------------------------------------------------------------------

PUSH = """To /bus
 \tabc:refs/heads/a\t1..2
+\tabc:refs/heads/b\t1...2 (forced update)
*\tabc:refs/heads/c\t[new branch]
-\t:refs/heads/d\t[deleted]
=\tabc:refs/heads/e\t[up to date]
!\tabc:refs/heads/f\t[rejected] (stale info)
!\tabc:refs/heads/g\t[remote rejected] (hook declined)
Done
"""


def test_the_lines_of_a_push_are_read() -> None:
    reply = parse_push(1, PUSH, "remote: only below alice\nremote: \nerror: failed to push")
    assert {line.ref[-1]: line.flag for line in reply.lines} == dict(
        zip("abcdefg", " +*-=!!", strict=True)
    )
    assert reply.accepts(f"refs/heads/{name}" for name in "abcde")
    assert not reply.accepts(["refs/heads/a", "refs/heads/f"])
    assert not reply.accepts(["refs/heads/z"])
    assert reply.is_refusal
    assert reply.reason("refs/heads/g") == "[remote rejected] (hook declined): only below alice"
    assert says_no(reply.reason("refs/heads/g"))
    assert not says_no(parse_push(1, PUSH, "").reason("refs/heads/f"))


def test_a_push_that_said_nothing_of_its_refs() -> None:
    reply = parse_push(128, "", "fatal: the remote end hung up unexpectedly")
    assert not reply.accepts(["refs/heads/a"])
    assert not reply.is_refusal
    assert reply.reason("refs/heads/a") == "fatal: the remote end hung up unexpectedly"
    broken = parse_push(1, "!\tx:refs/a\t[remote rejected] (unpacker error)", "")
    assert not broken.is_refusal


@pytest.mark.parametrize(
    ("stderr", "why", "what"),
    [
        (
            "warning: x\nfatal: unable to access 'https://h/': Could not resolve host: h",
            "resolve",
            "network",
        ),
        ("fatal: Authentication failed for 'https://h/'", "Authentication", "credentials"),
        (
            "git@h: Permission denied (publickey).\nfatal: Could not read from remote repository.",
            "remote repository",
            "credentials",
        ),
        (
            "fatal: '/x' does not appear to be a git repository\nfatal: Could not read",
            "does not appear",
            "address",
        ),
        (
            "ERROR: Repository not found.\nfatal: Could not read from remote repository.",
            "remote repository",
            "address",
        ),
        (
            "remote: error: GH006: Protected branch update failed\nerror: failed to push",
            "GH006",
            "network",
        ),
        ("", "no reason", "network"),
    ],
)
def test_the_reason_and_the_remedy_of_a_failure(stderr: str, why: str, what: str) -> None:
    assert why in explain(stderr)
    assert what in remedy(stderr)


def test_whose_fault_it_is() -> None:
    assert is_network("fatal: unable to access 'http://h/': Connection refused")
    assert is_network("fatal: no answer within 3 s")
    assert not is_network("fatal: loose object 12 (stored in x) is corrupt")
    assert is_full_disk("fatal: write error: No space left on device")
    assert not is_full_disk("remote: fatal: write error: No space left on device")
    no_room = "error: cannot update ref 'refs/tips/hb/one': couldn't write '/c/refs/one.lock'"
    assert is_full_disk(no_room)
    assert not is_full_disk(f"remote: {no_room}")
    assert is_empty_match(1, "")
    assert is_empty_match(128, "fatal: no matching remote head\n")
    assert not is_empty_match(128, "")
