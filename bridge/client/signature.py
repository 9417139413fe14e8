"""Which key signs a request: the one that is named, else the one that git signs with."""

from __future__ import annotations

from pathlib import Path

from bridge.client.checkout import Checkout
from bridge.errors import KakeyaError
from bridge.plans import Campaign
from bridge.records import Request
from bridge.signing import sign_request
from bridge.wire import to_bytes


def sign_by(
    request: Request | Campaign, named: Path | None, checkout: Checkout | None
) -> tuple[bytes | None, str]:
    """The signature of a request or a plan, or None, and what a person should know of that.

    A key that was named must sign. That of git (`user.signingkey` where `gpg.format` is `ssh`) is
    taken where it can: a job is not held up by a key that is locked.

    Args:
        request: the request, complete, or the plan of a campaign.
        named: a key of a flag or a setting.
        checkout: whose git settings are meant where none is named.

    Raises:
        UsageError: the named key cannot sign.
    """
    if named is not None:
        return sign_request(to_bytes(request), named.expanduser().absolute()), ""
    key = _key_of_git(checkout)
    if key is None:
        return None, ""
    try:
        return sign_request(to_bytes(request), key), ""
    except KakeyaError as error:
        return None, f"the request is not signed: {error}"


def _key_of_git(checkout: Checkout | None) -> Path | None:
    if checkout is None or checkout.git.config("gpg.format") != "ssh":
        return None
    name = checkout.git.config("user.signingkey") or ""
    path = Path(name).expanduser()
    return path if name and path.is_absolute() and path.is_file() else None
