"""The request never brings its own allowlist, and what ran is what was asked."""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bridge import proc
from bridge.bus.chain import Chain
from tests.lab import Lab, commit_all, git_in, make_bare, make_checkout, open_lab
from tests.servers.child import server_env
from tests.waiting import until

NOBODY = "nobody"
JOB_PYTHON = "/usr/bin/python3"

CANARY = """
import os, pathlib
pathlib.Path({folder!r}, "{name}-uid" + str(os.getuid()) + "-pid" + str(os.getpid())).touch()
"""

# Stands for the whole workloads package, with the standard library alone: the other user's
# interpreter has none of our packages.
HOSTILE_MAIN = """
import json, os, pathlib, sys
job = json.load(open(sys.argv[sys.argv.index("--job") + 1]))
out = pathlib.Path(job["out"])
row = {"arm": "noop", "seed": 0, "unit": "u", "input": "sha256:" + "0" * 64, "measure": "slept_s",
       "score": 0.0, "at": {}, "error": None, "warmup": False, "t_ms": 0.0}
rows = [dict(row, unit=str(n), input="sha256:" + str(n) * 64) for n in (1, 2)]
(out / "samples.jsonl").write_text("".join(json.dumps(one) + chr(10) for one in rows))
(out / "evidence.json").write_text('{"result": {"gates": "pass"}}')
(out / "artifacts").mkdir(exist_ok=True)
os.symlink("/etc/passwd", out / "artifacts" / "passwd")
print("the hostile workload ran as", os.getuid())
print("git metadata here:", os.path.exists(".git"))
told = sorted(name for name in os.environ if name.startswith(("GIT", "KAKEYA", "SSH")))
print("variables:", told)
for target in TARGETS:
    try:
        with open(target, "a") as file:
            file.write("x")
        print("wrote", target)
    except OSError as error:
        print("refused", type(error).__name__)
"""


def evidence_of(lab: Lab, chain: Chain) -> dict[str, Any]:
    """The evidence record of an ended job."""
    record: dict[str, Any] = json.loads(lab.bus.read(chain.files["evidence.json"]))
    return record


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that another user can reach; pytest's own are closed."""
    folder = Path(tempfile.mkdtemp(prefix="kakeya-open-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def plant_canaries(code: Path, canaries: Path, targets: list[Path]) -> str:
    """Commit code that fires a canary from every place that a careless runner would run."""
    for name in ("bridge", "evidence", "executors", "presets"):
        text = CANARY.format(folder=str(canaries), name=name)
        for path in (code / name / "__init__.py", code / name / "__main__.py"):
            path.write_text(text)
    (code / "sitecustomize.py").write_text(CANARY.format(folder=str(canaries), name="site"))
    shutil.rmtree(code / "workloads")
    (code / "workloads").mkdir()
    (code / "workloads" / "__init__.py").write_text("")
    workload = CANARY.format(folder=str(canaries), name="workload")
    planted = HOSTILE_MAIN.replace("TARGETS", repr([str(path) for path in targets]))
    (code / "workloads" / "__main__.py").write_text(workload + planted)
    shell = f"#!/bin/sh\ntouch {canaries}/hook-uid$(id -u)\n"
    for place in (".githooks", "hooks"):
        (code / place).mkdir()
        for hook in ("post-checkout", "pre-push", "reference-transaction"):
            (code / place / hook).write_text(shell)
            (code / place / hook).chmod(0o755)
    (code / "filter.sh").write_text(shell)
    (code / "filter.sh").chmod(0o755)
    (code / ".gitattributes").write_text("* filter=canary\n* export-subst\nbridge export-ignore\n")
    (code / ".gitconfig").write_text(
        f'[filter "canary"]\n\tsmudge = {code}/filter.sh\n[core]\n\thooksPath = {code}/hooks\n'
    )
    noop = (code / "presets" / "noop.yaml").read_text()
    (code / "presets" / "noop.yaml").write_text(noop.replace('"=="', '">="'))
    return commit_all(code, "canaries")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can run a job as another user")
def test_no_canary_of_the_code_commit_fires_outside_the_job(
    checkout: Path, open_folder: Path
) -> None:
    make_bare(open_folder / "bus.git")
    lab = open_lab(checkout, str(open_folder / "bus.git"), open_folder / "lab")
    canaries = open_folder / "canaries"
    canaries.mkdir()
    canaries.chmod(0o777)
    code = open_folder / "code"
    shutil.copytree(checkout, code)
    settings = lab.folder / "lab-1.yaml"
    targets = [settings, lab.folder / "requester" / "lock", Path(lab.url) / "config"]
    commit = plant_canaries(code, canaries, targets)
    lab.push_code(code, commit)

    with lab.runner(code_policy="any", run_as=NOBODY, python=JOB_PYTHON):
        chain = lab.wait(lab.submit("noop", code=commit))

    output = lab.output(chain)
    assert chain.state == "done", output + lab.words()
    assert "the hostile workload ran as 65534" in output
    assert "git metadata here: False" in output
    assert "variables: ['KAKEYA_JOB_MARK']" in output
    assert "wrote" not in output
    fired = sorted(path.name for path in canaries.iterdir())
    assert any(name.startswith("workload-uid65534") for name in fired), "the code was not run"
    assert [name for name in fired if "uid65534" not in name] == [], "fired outside the job"
    # two samples where the trusted gate wants exactly one: its own gate would have passed
    assert chain.result is not None
    assert chain.result.verdict == "fail"
    record = evidence_of(lab, chain)
    assert record["gates"][0]["threshold"] == "== 1"
    assert record["trusted"]["commit"] == lab.commit
    assert record["code"]["commit"] == commit
    assert "artifacts/passwd" not in chain.files
    assert any("passwd" in line for line in record["left"])
    lab.bus.close()


def test_any_code_is_refused_without_isolation(lab: Lab) -> None:
    process = lab.start(lab.settings("lab-1", code_policy="any"))
    assert process.wait(timeout=60) == 2
    assert "any code is run only in isolation" in lab.words()


def test_two_code_commits_give_two_results_and_their_digests_tell(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    checkout = make_checkout(tmp_path_factory.mktemp("two"))
    noop = checkout / "workloads" / "noop" / "__init__.py"
    whole = noop.read_text()
    commits = []
    for word in ("alpha", "omega"):
        noop.write_text(whole + f'\nprint("this is {word}")\n')
        commits.append(commit_all(checkout, word))
    make_bare(tmp_path / "bus.git")
    lab = open_lab(checkout, str(tmp_path / "bus.git"), tmp_path / "lab")
    with lab.runner():
        refs = [lab.submit("noop", code=commit) for commit in commits]
        chains = [lab.wait(ref) for ref in refs]
    outputs = [lab.output(chain) for chain in chains]
    assert "this is alpha" in outputs[0]
    assert "this is omega" in outputs[1]
    name = "workloads/noop/__init__.py"
    records_ = [evidence_of(lab, chain) for chain in chains]
    digests = [record["code"]["imported"][name] for record in records_]
    assert digests[0] != digests[1]
    for record, commit in zip(records_, commits, strict=True):
        assert record["code"]["commit"] == commit
        assert record["code"]["dirty"] is False
        assert record["code"]["foreign"] == {} or record["code"]["foreign"] == []
        shown = git_in(checkout, "show", f"{commit}:{name}") + "\n"
        assert record["code"]["imported"][name] == _sha256(shown.encode())
    lab.bus.close()


def test_a_runner_whose_program_is_not_its_commit_does_not_start(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    checkout = make_checkout(tmp_path_factory.mktemp("edited"))
    make_bare(tmp_path / "bus.git")
    lab = open_lab(checkout, str(tmp_path / "bus.git"), tmp_path / "lab")
    edited = checkout / "evidence" / "__init__.py"
    edited.write_text(edited.read_text() + "\n# an edit\n")
    process = lab.start(lab.settings("lab-1"))
    assert process.wait(timeout=60) == 4
    assert "evidence/__init__.py" in lab.words()
    lab.bus.close()


@pytest.mark.parametrize("listed", [True, False], ids=["listed-key", "foreign-key"])
def test_signed_code_runs_only_for_a_listed_key(
    listed: bool, checkout: Path, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    make_bare(tmp_path / "bus.git")
    lab = open_lab(checkout, str(tmp_path / "bus.git"), tmp_path / "lab")
    code = tmp_path_factory.mktemp("signed") / "code"
    shutil.copytree(checkout, code)
    noop = code / "workloads" / "noop" / "__init__.py"
    noop.write_text(noop.read_text() + '\nprint("signed code ran")\n')
    commit = commit_all(code, "not merged")
    keys = {name: _make_key(tmp_path, name) for name in ("alice", "mallory")}
    signers = tmp_path / "allowed_signers"
    public = keys["alice"].with_suffix(".pub").read_text()
    signers.write_text(f'alice namespaces="kakeya-request" {public}')

    with lab.runner(code_policy="signed", allowed_signers=str(signers)):
        ref = _submit_signed(lab, code, commit, keys["alice" if listed else "mallory"])
        if listed:
            chain = lab.wait(ref)
            assert chain.state == "done", lab.words()
            assert "signed code ran" in lab.output(chain)
        else:
            heartbeat = lab.bus.refs.heartbeat("lab-1")
            declines = until(lambda: lab.bus.load_heartbeat(heartbeat).declines, what="a decline")
            assert "not listed" in declines[0].detail
            assert lab.bus.load(ref).state == "queued"
    lab.bus.close()


def _submit_signed(lab: Lab, code: Path, commit: str, key: Path) -> str:
    argv = [sys.executable, "-m", "bridge.cli.main", "run", "noop", "--json"]
    argv += ["--bus", lab.url, "--code", commit, "--push-code", "--sign", str(key)]
    env = {**server_env(lab.folder), "PYTHONPATH": str(lab.checkout)}
    done = proc.run(argv, cwd=code, env=env, timeout_s=60)
    assert done.code == 0, done.stderr.decode()
    ref = lab.bus.find(json.loads(done.stdout)["id"])
    assert ref is not None
    return ref


def _make_key(folder: Path, name: str) -> Path:
    path = folder / name
    argv = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(path)]
    done = proc.run(argv, cwd=folder, env=server_env(folder), timeout_s=30)
    assert done.code == 0, done.stderr
    return path


def _sha256(data: bytes) -> str:
    from bridge.canonical import digest_bytes

    return digest_bytes(data)
