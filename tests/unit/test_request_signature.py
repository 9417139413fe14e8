"""A request is signed by the key that is named, else by the one that git signs with."""

from __future__ import annotations

from pathlib import Path

import pytest

from bridge import proc
from bridge.client.checkout import Checkout
from bridge.client.settings import load_settings
from bridge.client.signature import sign_by
from bridge.errors import UsageError
from bridge.git import Git
from bridge.signing import verify_request
from bridge.wire import to_bytes
from tests import samples
from tests.lab import git_in
from tests.servers.child import server_env


def make_key(folder: Path, name: str, passphrase: str = "") -> Path:
    argv = ["ssh-keygen", "-q", "-t", "ed25519", "-N", passphrase, "-f", str(folder / name)]
    done = proc.run(argv, cwd=folder, env=server_env(folder), timeout_s=30)
    assert done.code == 0, done.stderr
    return folder / name


def open_checkout(folder: Path) -> Checkout:
    folder.mkdir()
    git_in(folder, "init", "--quiet")
    return Checkout(Git(folder), folder, None)


def signer(signature: bytes | None, key: Path, data: bytes) -> str:
    """Who signed, if `key` did."""
    assert signature is not None
    listed = key.parent / f"{key.name}.listed"
    listed.write_text(f"alice {key.with_suffix('.pub').read_text()}")
    return verify_request(data, signature, listed)


def test_the_named_key_signs_before_that_of_git(tmp_path: Path) -> None:
    mine, other = make_key(tmp_path, "mine"), make_key(tmp_path, "other")
    request = samples.make_request(samples.make_id())
    data = to_bytes(request)
    checkout = open_checkout(tmp_path / "checkout")
    assert sign_by(request, None, checkout) == (None, "")
    git_in(checkout.root, "config", "user.signingkey", str(mine))
    assert sign_by(request, None, checkout) == (None, "")  # git signs with gpg by default
    git_in(checkout.root, "config", "gpg.format", "ssh")
    assert signer(sign_by(request, None, checkout)[0], mine, data) == "alice"
    assert signer(sign_by(request, other, checkout)[0], other, data) == "alice"
    assert signer(sign_by(request, other, None)[0], other, data) == "alice"
    checkout.git.close()


def test_a_locked_key_of_git_holds_nothing_up_and_a_named_one_does(tmp_path: Path) -> None:
    locked = make_key(tmp_path, "locked", "a passphrase")
    request = samples.make_request(samples.make_id())
    checkout = open_checkout(tmp_path / "checkout")
    git_in(checkout.root, "config", "gpg.format", "ssh")
    git_in(checkout.root, "config", "user.signingkey", str(locked))
    signature, note = sign_by(request, None, checkout)
    assert signature is None
    assert note.startswith("the request is not signed: ")
    with pytest.raises(UsageError, match="cannot sign"):
        sign_by(request, locked, checkout)
    checkout.git.close()


def test_a_repository_has_no_say_in_the_key(tmp_path: Path) -> None:
    (tmp_path / "kakeya.yaml").write_text("signing_key: ~/.ssh/id_ed25519\n")
    (tmp_path / "user").mkdir()
    (tmp_path / "user" / "config.yaml").write_text("signing_key: keys/mine\n")
    places = {"folder": tmp_path, "user_folder": tmp_path / "user"}
    with pytest.raises(UsageError, match="not in a repository"):
        load_settings({}, {}, checkout=tmp_path, **places)
    found = load_settings({}, {}, checkout=None, **places)
    assert found.signing_key == tmp_path / "user" / "keys" / "mine"
    named = {"KAKEYA_SIGNING_KEY": "here", "KAKEYA_REQUIRE_ENROLLED": "true"}
    found = load_settings({}, named, checkout=None, **places)
    assert (found.signing_key, found.require_enrolled) == (tmp_path / "here", True)
