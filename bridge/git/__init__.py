"""The one package that calls git, through GitPython, with fixed arguments.

No string of a request is ever an option, a URL or a config value here: refs come from
`bridge.bus.refs`, object ids are checked, and URLs are the operator's own settings.
"""

from bridge.git.answers import PushLine, PushReply, says_no
from bridge.git.fast import FastGit
from bridge.git.pktline.path import FastPath
from bridge.git.remote import Git
from bridge.git.repository import RefTip
from bridge.git.settings import check_url, git_version, scrub_environment
from bridge.git.stamp import RefStamp

__all__ = [
    "FastGit",
    "FastPath",
    "Git",
    "PushLine",
    "PushReply",
    "RefStamp",
    "RefTip",
    "check_url",
    "git_version",
    "says_no",
    "scrub_environment",
]
