"""`python -I .../supervise [--foreground] JOB_DIR`: start the job of JOB_DIR/launch.json, once.

Detaches and prints `supervisor.json` (number, start and mark of the process that holds the job);
a second call prints the first one's and starts nothing. `--foreground` stays, for a scheduler
that watches the process it started, and ends with the job's own exit code.

For a caller on another machine: `--status JOB_DIR` prints what became of it, `--unpack ARCHIVE
SHA256 TARGET` and `--pack FOLDER NAME ...` bring files in and out, and `--prune ROOT BYTES` keeps
what lies there for later jobs below a bound.
"""

from __future__ import annotations

import importlib
import os
import sys


def _become_package() -> None:
    """Make relative imports work although this folder was run, not imported (PEP 366)."""
    global __package__
    if not __package__:
        folder = os.path.dirname(os.path.abspath(__file__))
        __package__ = os.path.basename(folder)
        sys.path[0] = os.path.dirname(folder)
        importlib.import_module(__package__)
        sys.path.pop(0)  # the package knows its own folder; its neighbours must shadow nothing


if __name__ == "__main__":
    _become_package()
    from .entry import main

    sys.exit(main(sys.argv[1:]))
