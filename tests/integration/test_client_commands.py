"""The other commands as a person or an agent types them, against a scripted runner."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bridge import proc
from bridge.cli.main import main
from tests.integration.client_rig import Rig, command, command_env

pytestmark = pytest.mark.usefixtures("in_project")


def test_status_list_and_cancel(rig: Rig, capsys: pytest.CaptureFixture[str]) -> None:
    job, _ = rig.submit()
    assert main(["status", job]) == 0
    assert "queued" in capsys.readouterr().out
    assert main(["cancel", job, "--reason", "typo", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["state"] == "cancelled"
    assert main(["cancel", job]) == 0
    assert main(["wait", job]) == 3
    capsys.readouterr()
    assert main(["list", "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)["jobs"]
    assert (row["id"], row["state"], row["preset"]) == (job, "cancelled", "noop")
    assert main(["list"]) == 0
    assert job in capsys.readouterr().out
    assert main(["status", job.lower()]) == 0
    assert main(["status", "nonsense"]) == 2


def test_results_are_written_where_git_looks_away(
    rig: Rig, capsys: pytest.CaptureFixture[str]
) -> None:
    job, ref = rig.submit()
    rig.runner.claim(ref)
    rig.runner.finish(ref, artifacts={"a.txt": b"a"}, files={"report.md": b"# report\n"})
    assert main(["results", job]) == 0
    captured = capsys.readouterr()
    folder = rig.project / ".kakeya" / "results" / job
    assert (folder / "artifacts" / "a.txt").read_bytes() == b"a"
    assert str(folder) in captured.out
    assert "it ended" in captured.out
    assert rig.client.checkout is not None
    assert rig.client.checkout.git.changed_files() == ()
    assert main(["results", job, "--out", "elsewhere", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert {row["path"] for row in told["files"]} >= {"artifacts/a.txt", "evidence.json"}
    assert (rig.project / "elsewhere" / "report.md").is_file()


def test_evidence_of_no_usable_shape_is_told_and_no_crash(
    rig: Rig, capsys: pytest.CaptureFixture[str]
) -> None:
    from bridge.canonical import digest_bytes

    job, ref = rig.submit()
    rig.runner.claim(ref)
    odd = b'{"gates": 7}'
    files = {"evidence.json": odd}
    rig.runner.finish(ref, verdict=None, files=files, evidence=digest_bytes(odd))
    assert main(["wait", job]) == 10
    assert "cannot be shown" in capsys.readouterr().err
    assert main(["wait", job, "--json"]) == 10
    assert json.loads(capsys.readouterr().out)["gates"] == []


def test_bus_init_and_doctor(rig: Rig, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["bus", "init", str(tmp_path / "new.git"), "--json"]) == 0
    first = json.loads(capsys.readouterr().out)
    assert main(["bus", "init", str(tmp_path / "new.git")]) == 0
    assert capsys.readouterr().out.strip() == first["id"]
    assert main(["doctor", "--bus", str(tmp_path / "new.git"), "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    faults = [row["check"] for row in told["findings"] if row["level"] == "fault"]
    assert faults == ["code"]
    assert main(["doctor"]) == 0
    assert "mac-m4" in capsys.readouterr().out


def test_a_reader_that_has_seen_enough_is_no_error(rig: Rig) -> None:
    rig.submit()
    line = " ".join(command("list", "--json"))
    script = f"set -o pipefail; {line} 2>err.txt | true; echo ${{PIPESTATUS[0]}}"
    done = proc.run(["bash", "-c", script], cwd=rig.project, env=command_env(), timeout_s=60)
    assert done.stdout.strip() in (b"0", b"1")
    assert (rig.project / "err.txt").read_text() == ""


def test_options_may_stand_before_the_command(
    rig: Rig, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("KAKEYA_BUS")
    rig.submit()
    assert main(["--bus", rig.url, "--json", "list"]) == 0
    assert len(json.loads(capsys.readouterr().out)["jobs"]) == 1
