"""What a signature adds to the commit of one piece of log, and what checking one takes."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.measure import Action, Table, compare
from bridge import proc
from bridge.bus.commits import runner_identity
from bridge.objects import Identity, Prepared, build_commit, split_signature
from bridge.runner.key import RunnerKey, load_key
from bridge.sshsig import GIT, read_signature

_ROUNDS = 200
_PIECE = b"one line of a job's output, as long as such lines are\n" * 80  # 4 KB
_PLAIN, _SIGNED = "log commit, unsigned", "log commit, signed in the process"
_CHECKED, _KEYGEN = "signature checked", "ssh-keygen -Y sign, one process"


def measure() -> Iterator[Table]:
    """A log commit of 4 KB without a signature, with one, and what OpenSSH's program takes."""
    with tempfile.TemporaryDirectory(prefix="kakeya-bench-") as folder:
        key = load_key(Path(folder), "bench")
        cases = {
            _PLAIN: lambda: _composes(runner_identity("bench")),
            _SIGNED: lambda: _composes(runner_identity("bench", key.sign)),
            _CHECKED: lambda: _checks(key),
            _KEYGEN: lambda: _asks_openssh(Path(folder)),
        }
        rows = compare(cases, rounds=_ROUNDS)
    note = "A runner signs every commit that it writes; a reader checks each once."
    yield Table("Signatures", note, rows)


def _commit(author: Identity) -> Prepared:
    return build_commit(
        {"logs/1-000001.txt": _PIECE, "log.json": b"{}\n"},
        kept_files={"request.json": "1" * 40, "claim.json": "2" * 40},
        parents=("3" * 40,),
        message="kakeya: log, attempt 1, part 1\n\n[skip ci]\n",
        author=author,
        when_s=1_700_000_000,
    )


def _composes(author: Identity) -> Action:
    return lambda: _commit(author)


def _checks(key: RunnerKey) -> Action:
    data = _commit(runner_identity("bench", key.sign)).objects[-1].data

    def check() -> None:
        sealed = split_signature(data)
        assert sealed is not None
        assert read_signature(sealed.signature).fits(sealed.payload, GIT)

    return check


def _asks_openssh(folder: Path) -> Action:
    argv = ["ssh-keygen", "-Y", "sign", "-q", "-n", GIT, "-f", str(folder / "key")]

    def ask() -> None:
        done = proc.run(argv, cwd=folder, env=proc.base_env(), timeout_s=60.0, input=b"bytes")
        assert done.code == 0, done.stderr.decode(errors="replace")

    return ask
