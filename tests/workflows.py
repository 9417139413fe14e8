"""Workflow files run by `act`, on this machine, with stand-ins for the actions it cannot fetch.

The files run are those of the repository: `act` takes a folder for each pinned action, so that
nothing of them has to differ but what `act` does not know, and a caller names each such difference.
"""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bridge import proc
from tests.lab import REPO, git_in
from tests.servers.child import find_program, server_env

_USES = re.compile(r"uses: (actions/[a-z-]+)@([0-9a-f]{40})\b")
_RUNS_ON = re.compile(r"runs-on: \[?([a-z0-9.-]+)")

_BOUND_S = 840

_CHECKOUT = """\
name: stand-in for actions/checkout
inputs:
  ref: {default: ""}
  path: {default: "."}
  fetch-depth: {default: "1"}
  sparse-checkout: {default: ""}
  lfs: {default: "false"}
  persist-credentials: {default: "true"}
runs:
  using: composite
  steps:
    - shell: bash
      env:
        REF: ${{ inputs.ref }}
        PLACE: ${{ inputs.path }}
        DEPTH: ${{ inputs.fetch-depth }}
        SPARSE: ${{ inputs.sparse-checkout }}
        LFS: ${{ inputs.lfs }}
      run: |
        set -eu
        test "${{ inputs.persist-credentials }}" = false
        git init --quiet "$PLACE"
        cd "$PLACE"
        if test -n "$SPARSE"; then git sparse-checkout set "$SPARSE"; fi
        if test "$DEPTH" = 0; then depth=; else depth=--depth=$DEPTH; fi
        git fetch --quiet --no-tags $depth "$KAKEYA_TEST_ORIGIN" "${REF:-HEAD}"
        if test "$LFS" = true; then
          git lfs install --local > /dev/null
          git remote add origin "file://$KAKEYA_TEST_ORIGIN"
          GIT_LFS_SKIP_SMUDGE=1 git checkout --quiet --detach FETCH_HEAD
          git lfs fetch origin HEAD || true  # the real one ends here where an object is lacking
        else
          git checkout --quiet --detach FETCH_HEAD
        fi
"""

_SETUP_PYTHON = """\
name: stand-in for actions/setup-python
inputs:
  python-version: {default: ""}
runs:
  using: composite
  steps:
    - shell: bash
      run: |
        set -eu
        if ! test -d "$KAKEYA_TEST_VENV"; then
          "$KAKEYA_TEST_PYTHON" -m venv --without-pip "$KAKEYA_TEST_VENV"
          for folder in "$KAKEYA_TEST_VENV"/lib/*/site-packages; do
            echo "$KAKEYA_TEST_PACKAGES" > "$folder/test.pth"
          done
        fi
        echo "$KAKEYA_TEST_VENV/bin" >> "$GITHUB_PATH"
"""
_UPLOAD = """\
name: stand-in for actions/upload-artifact
inputs:
  name: {default: artifact}
  path: {required: true}
  if-no-files-found: {default: warn}
  retention-days: {default: "90"}
runs:
  using: composite
  steps:
    - shell: bash
      env:
        NAME: ${{ inputs.name }}
        FROM: ${{ inputs.path }}
      run: |
        set -eu
        rm -rf "$KAKEYA_TEST_ARTIFACTS/$NAME"
        mkdir -p "$KAKEYA_TEST_ARTIFACTS"
        if test -e "$FROM"; then mv "$FROM" "$KAKEYA_TEST_ARTIFACTS/$NAME"; fi
"""
_STAND_INS = {
    "actions/checkout": _CHECKOUT,
    "actions/setup-python": _SETUP_PYTHON,
    "actions/upload-artifact": _UPLOAD,
}


@dataclass(frozen=True)
class Ran:
    """How a run of a workflow ended: whether it succeeded, and what it printed."""

    succeeded: bool
    output: str


class Act:
    """A folder to run workflows of this repository in, against a repository given as `origin`."""

    def __init__(self, folder: Path, origin: Path) -> None:
        self.folder = folder
        self.origin = origin
        self._place = folder / "place"
        shutil.copytree(REPO / ".github" / "workflows", self._place / ".github" / "workflows")
        git_in(self._place, "init", "--quiet", "--initial-branch=main")
        git_in(self._place, "remote", "add", "origin", "https://github.com/someone/something")
        git_in(self._place, "commit", "--quiet", "--allow-empty", "--message", "nothing")
        for name, text in _STAND_INS.items():
            action = folder / name / "action.yml"
            action.parent.mkdir(parents=True)
            action.write_text(text)

    def run(
        self,
        workflow: str,
        event: str,
        payload: Mapping[str, Any],
        env: Mapping[str, str],
        token: str = "",
        without: Sequence[str] = (),
    ) -> Ran:
        """Run one workflow file on an event, without those lines of it that act does not know."""
        text = (REPO / ".github" / "workflows" / workflow).read_text("utf-8")
        for line in without:
            assert text.count(line) == 1, f"{workflow} holds {line!r} once"
            text = text.replace(line, "")
        return self.run_text(workflow, text, event, payload, env, token)

    def run_text(
        self,
        workflow: str,
        text: str,
        event: str,
        payload: Mapping[str, Any],
        env: Mapping[str, str],
        token: str = "",
    ) -> Ran:
        """Run a workflow of this text."""
        path = self._place / ".github" / "workflows" / workflow
        path.write_text(text, "utf-8")
        event_file = self.folder / "event.json"
        event_file.write_text(json.dumps(payload))
        act = find_program("act")
        assert act is not None
        argv = [act, event, "--workflows", str(path), "--eventpath", str(event_file)]
        argv += ["--no-skip-checkout", "--no-cache-server", "--pull=false"]
        for label in sorted(set(_RUNS_ON.findall(text))):
            argv += ["--platform", f"{label}=-self-hosted"]
        for name, commit in sorted(set(_USES.findall(text))):
            server = env.get("GITHUB_SERVER_URL", "https://github.com")
            argv += ["--local-repository", f"{server}/{name}@{commit}={self.folder / name}"]
        for name, value in {**self._settings(), **env}.items():
            argv += ["--env", f"{name}={value}"]
        argv += ["--secret", f"GITHUB_TOKEN={token}"] if token else []
        done = proc.run(argv, cwd=self._place, env=self._environment(), timeout_s=_BOUND_S)
        return Ran(done.code == 0, (done.stdout + done.stderr).decode("utf-8", "replace"))

    def _settings(self) -> dict[str, str]:
        packages = next(path for path in sys.path if (Path(path) / "setuptools").is_dir())
        return {
            "KAKEYA_TEST_ORIGIN": str(self.origin),
            "KAKEYA_TEST_PYTHON": sys.executable,
            "KAKEYA_TEST_PACKAGES": packages,
            "KAKEYA_TEST_VENV": str(self.folder / "venv"),
            "KAKEYA_TEST_ARTIFACTS": str(self.folder / "artifacts"),
            "PIP_NO_INDEX": "1",
            "PIP_NO_BUILD_ISOLATION": "0",  # pip's own way to say: no isolation
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        }

    def _environment(self) -> dict[str, str]:
        home = self.folder / "home"
        home.mkdir(exist_ok=True)
        return {**server_env(home), "XDG_CACHE_HOME": str(home), "XDG_CONFIG_HOME": str(home)}
