"""The start of an installed runner: `python -I launch.py PIN OPTION...`, by the service manager.

Looks at the interpreter before anything of ours is imported: where a reboot or an upgrade put
another Python at the same path, the packages are gone, and an import error would name the wrong
thing. The standard library alone, in words that every Python since 3.7 reads.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any, Dict, List  # noqa: UP035 - an old Python shall get as far as the message

USAGE = 2


def moved(pin: Dict[str, Any], version: str, prefix: str) -> str:  # noqa: UP006
    """Why this interpreter is not the pinned one, or an empty string. Pure.

    Args:
        pin: what was written at the installation.
        version: of this interpreter, such as 3.12.4; its last part may differ.
        prefix: the environment that this interpreter belongs to.
    """
    was = pin["runner"]
    if version.split(".")[:2] != was["version"].split(".")[:2]:
        return f"was Python {was['version']} when the service was installed, is {version} now"
    if os.path.realpath(prefix) != os.path.realpath(was["prefix"]):
        return f"belonged to the environment {was['prefix']} and belongs to {prefix} now"
    return ""


def main(arguments: List[str]) -> int:  # noqa: UP006
    """Check, then run `kakeya_remote runner start` in this process; returns its exit code."""
    if not arguments:
        sys.stderr.write("usage: launch.py PIN OPTION...\n")
        return USAGE
    try:
        with open(arguments[0], encoding="utf-8") as file:
            why = moved(json.load(file), sys.version.split()[0], sys.prefix)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return _refuse(f"the pin {arguments[0]} cannot be read: {error!r}")
    if why:
        return _refuse(f"{sys.executable} {why}")
    root = os.path.realpath(__file__)
    for _ in ("launch.py", "cli", "bridge"):
        root = os.path.dirname(root)
    sys.path.insert(0, root)
    try:
        from bridge.cli.main import main as run
    except ImportError as error:
        return _refuse(f"{sys.executable} cannot import {error.name or error}")
    return run(["runner", "start", "--pin", *arguments])


def _refuse(why: str) -> int:
    sys.stderr.write(
        f"error: {why}\n  what to do: set the environment up again (docs/operators.md), then: "
        "kakeya_remote runner install\n"
    )
    return USAGE


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
