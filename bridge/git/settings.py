"""What git is told before it is asked anything: environment, configuration, addresses."""

from __future__ import annotations

import os
import shutil
from typing import Any

from bridge.errors import MissingPartError, UsageError

ENVIRONMENT = {
    "LC_ALL": "C",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_ASKPASS": "true",
    "GIT_HTTP_LOW_SPEED_LIMIT": "100",
    "GIT_HTTP_LOW_SPEED_TIME": "30",
    "GIT_OPTIONAL_LOCKS": "0",
}

CACHE_REMOTE = "bus"

_KEPT = frozenset(
    {
        "GIT_ASKPASS",
        "GIT_SSH",
        "GIT_SSH_COMMAND",
        "GIT_SSL_CAINFO",
        "GIT_SSL_NO_VERIFY",
        "GIT_TRACE",
    }
)

# Objects are not checked as they come in: one malformed commit of a stranger would fail the poll
# of every job. Nothing of them is checked out; what is read is judged by our own parsers.
CACHE_CONFIG = """\
[core]
\trepositoryFormatVersion = 0
\tbare = true
\tlogAllRefUpdates = false
\thooksPath = /dev/null
[protocol]
\tversion = 2
[protocol "ext"]
\tallow = never
[fetch]
\tfsckObjects = false
\twriteCommitGraph = false
[push]
\tnegotiate = false
\tfollowTags = false
\tgpgSign = false
[gc]
\tauto = 0
[maintenance]
\tauto = false
[advice]
\tdetachedHead = false
"""


def make_environment() -> dict[str, str]:
    """What every command of ours is told: never ask a person, give up on a stalled transfer.

    A program that answers for the person (`GIT_ASKPASS`), where there is one, stays.
    """
    if not os.environ.get("GIT_ASKPASS"):
        return dict(ENVIRONMENT)
    return {name: value for name, value in ENVIRONMENT.items() if name != "GIT_ASKPASS"}


def load_library() -> Any:
    """GitPython, which cannot even be imported where there is no git.

    Raises:
        MissingPartError: there is no git on the PATH.
    """
    if shutil.which("git") is None:
        raise MissingPartError(
            "git is not installed", where="PATH", remedy="install git 2.39 or newer"
        )
    import git

    return git


def git_version() -> tuple[int, ...]:
    """The version of the git on the PATH.

    Raises:
        MissingPartError: there is none.
    """
    return tuple(load_library().Git().version_info)


def scrub_environment() -> None:
    """Forget the `GIT_*` variables of a calling git (a hook, an alias): they point elsewhere."""
    for name in list(os.environ):
        if name.startswith("GIT_") and name not in _KEPT and not name.startswith("GIT_CONFIG"):
            del os.environ[name]


def check_url(url: str) -> str:
    """The URL or path of a remote, refused where git could read it as something else.

    Raises:
        UsageError: empty, an option, a helper (`ext::`), or with control characters.
    """
    bad = not url or url.startswith("-") or "::" in url.split("/", 1)[0] or not url.isprintable()
    if bad:
        raise UsageError(
            f"{url!r} is no address of a git remote",
            where="bus",
            remedy="give a path, or an ssh, https, http, git or file URL",
        )
    return url
