"""A hook on the server that holds one push at a chosen point until it is let go.

The point is exact: `prepared` is after the objects came and before the ref moves (the server holds
the ref's lock), `committed` is after it moved and before the pusher is told. So a drill hits its
victim in a state that it names, and not when luck has it.

Source: githooks(5), reference-transaction.
"""

from __future__ import annotations

import shutil
import signal
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.waiting import until

BOUND_S = 60
_HOOK = """#!/bin/sh
[ "$1" = {place} ] || exit 0
while read -r old new ref; do
  case "$ref" in {pattern}) ;; *) continue ;; esac
  case "$(git log -1 --format=%s "$new" 2>/dev/null)" in "{subject}"*) ;; *) continue ;; esac
  mkdir {folder}/caught 2>/dev/null || continue
  echo "$PPID" >{folder}/server.partial
  mv {folder}/server.partial {folder}/server
  turns=0
  while [ ! -e {folder}/go ] && [ $turns -lt {turns} ]; do sleep 0.05; turns=$((turns + 1)); done
done
exit 0
"""


@dataclass
class Ambush:
    """One hold on one bare repository.

    Args:
        repository: where the hook goes.
        subject: how the subject of the held commit begins.
        place: `prepared` or `committed`.
        pattern: the refs that are looked at, as in a shell's case.
    """

    repository: Path
    subject: str
    place: str
    pattern: str = "refs/heads/*/job/*"

    def __post_init__(self) -> None:
        self._folder = self.repository / "ambush"
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder.mkdir()
        hook = self.repository / "hooks" / "reference-transaction"
        hook.parent.mkdir(exist_ok=True)
        hook.write_text(
            _HOOK.format(
                place=self.place,
                pattern=self.pattern,
                subject=self.subject,
                folder=self._folder,
                turns=BOUND_S * 20,
            )
        )
        hook.chmod(0o755)

    def wait(self) -> int:
        """Until a push is held; the number of the server's process that serves it."""
        found = self._folder / "server"
        until(found.is_file, bound_s=BOUND_S, what=f"a push of {self.subject!r}")
        return int(found.read_text())

    def let_go(self) -> None:
        """Let the held push go on, and hold no other."""
        (self._folder / "go").touch()
        (self.repository / "hooks" / "reference-transaction").unlink(missing_ok=True)

    def kill_server(self) -> None:
        """SIGKILL to the process that serves the held push."""
        psutil.Process(self.wait()).send_signal(signal.SIGKILL)
        self.let_go()
