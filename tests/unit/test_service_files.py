"""systemd units and launchd property lists, compared whole and held to their formats."""

from __future__ import annotations

import dataclasses
import json
import plistlib
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from bridge import proc
from bridge.bus.profile import PROFILES
from bridge.errors import UsageError
from bridge.runner.service.launchd import plist_path, render_plist
from bridge.runner.service.plan import LINUX, MACOS, plan_install, plan_restart, plan_uninstall
from bridge.runner.service.spec import ServiceSpec, start_s, watchdog_s
from bridge.runner.service.systemd import render_unit, unit_path

DATA = Path(__file__).parents[1] / "data" / "service"
LINUX_SPEC = ServiceSpec(
    name="box-1",
    scope="user",
    user="alice",
    home=Path("/home/alice"),
    python=Path("/home/alice/kakeya/trusted/.venv/bin/python"),
    launcher=Path("/home/alice/kakeya/trusted/bridge/cli/launch.py"),
    pin=Path("/home/alice/.local/state/kakeya_remote/runner/box-1-0123abcd/pin.json"),
    config=Path("/home/alice/.config/kakeya_remote/runner.yaml"),
    state_dir=Path("/home/alice/.local/state/kakeya_remote/runner/box-1-0123abcd"),
    log=None,
    watchdog_s=watchdog_s(PROFILES["self-hosted"]),
    start_s=start_s(PROFILES["self-hosted"]),
    env={"PATH": "/usr/local/bin:/usr/bin:/bin"},
)
LIBRARY = Path("/Users/alice/Library")
MAC_SPEC = ServiceSpec(
    name="mac-m4",
    scope="user",
    user="alice",
    home=Path("/Users/alice"),
    python=Path("/Users/alice/kakeya/trusted/.venv/bin/python"),
    launcher=Path("/Users/alice/kakeya/trusted/bridge/cli/launch.py"),
    pin=LIBRARY / "Application Support/kakeya_remote/runner/mac-m4-0123abcd/pin.json",
    config=LIBRARY / "Application Support/kakeya_remote/runner.yaml",
    state_dir=LIBRARY / "Application Support/kakeya_remote/runner/mac-m4-0123abcd",
    log=LIBRARY / "Logs/kakeya_remote/mac-m4.log",
    watchdog_s=watchdog_s(PROFILES["github"]),
    start_s=start_s(PROFILES["github"]),
    env={"PATH": "/opt/homebrew/bin:/usr/bin:/bin"},
)
CASES = {
    "user.service": render_unit(LINUX_SPEC).encode(),
    "system.service": render_unit(dataclasses.replace(LINUX_SPEC, scope="system")).encode(),
    "agent.plist": render_plist(MAC_SPEC),
    "daemon.plist": render_plist(dataclasses.replace(MAC_SPEC, scope="system")),
}


@pytest.mark.parametrize("name", CASES)
def test_it_is_the_golden_file_whole(name: str) -> None:
    assert CASES[name].decode() == (DATA / name).read_text("utf-8")


def test_every_golden_file_has_its_case() -> None:
    assert {path.name for path in DATA.iterdir()} == {*CASES, "launchd.schema.json"}


@pytest.mark.real("systemd-analyze")
@pytest.mark.parametrize("scope", ["user", "system"])
@pytest.mark.parametrize("folder", ["plain", 'two words, 100%h, $HOME, \\n and "quotes"', "ünï"])
def test_systemd_accepts_the_unit(tmp_path: Path, scope: str, folder: str) -> None:
    home = tmp_path / folder
    state = home / "state"
    state.mkdir(parents=True)
    program = tmp_path / "100%h of it" / "python"
    program.parent.mkdir()
    program.symlink_to(sys.executable)
    spec = dataclasses.replace(
        LINUX_SPEC,
        scope=scope,
        user="root",
        home=home,
        python=program,
        state_dir=state,
        config=home / "runner.yaml",
        env={"PATH": f"{home}:/usr/bin", "HTTPS_PROXY": 'http://u:p%40"$x"@proxy'},
    )
    unit = tmp_path / unit_path(spec).name
    unit.write_text(render_unit(spec))
    level = ("--user",) if scope == "user" else ()
    argv = ["systemd-analyze", *level, "verify", "--man=no", str(unit)]
    env = {**proc.base_env(), "XDG_RUNTIME_DIR": str(tmp_path)}
    done = proc.run(argv, cwd=tmp_path, env=env, timeout_s=60)
    said = [line for line in done.stderr.decode().splitlines() if unit.name in line]
    assert (done.code, said) == (0, [])


@pytest.mark.real("systemd-analyze")
def test_systemd_would_see_a_fault(tmp_path: Path) -> None:
    unit = tmp_path / "kakeya-remote-bad.service"
    unit.write_text(render_unit(LINUX_SPEC).replace("KillMode=process", "KillMode=nobody"))
    argv = ["systemd-analyze", "--user", "verify", "--man=no", str(unit)]
    env = {**proc.base_env(), "XDG_RUNTIME_DIR": str(tmp_path)}
    done = proc.run(argv, cwd=tmp_path, env=env, timeout_s=60)
    assert b"Failed to parse kill mode" in done.stderr
    assert b"is not executable" in done.stderr


@pytest.mark.parametrize("name", ["agent.plist", "daemon.plist"])
def test_launchds_keys_have_their_types(name: str) -> None:
    schema: dict[str, Any] = json.loads((DATA / "launchd.schema.json").read_text("utf-8"))
    document = plistlib.loads(CASES[name])
    jsonschema.Draft202012Validator(schema).validate(document)
    assert document["AbandonProcessGroup"] is True
    assert document["KeepAlive"] == {"SuccessfulExit": False}
    assert document["ProgramArguments"][0] == str(MAC_SPEC.python)
    assert document["ExitTimeOut"] > 0
    assert ("UserName" in document) is (name == "daemon.plist")


def test_the_schema_refuses_what_launchd_would_ignore() -> None:
    schema: dict[str, Any] = json.loads((DATA / "launchd.schema.json").read_text("utf-8"))
    document = plistlib.loads(CASES["agent.plist"])
    for change in ({"AbandonProcessGroups": True}, {"ExitTimeOut": "90"}, {"Umask": -1}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.Draft202012Validator(schema).validate({**document, **change})


def test_a_line_break_cannot_add_a_directive() -> None:
    with pytest.raises(UsageError, match="cannot be given this text"):
        dataclasses.replace(LINUX_SPEC, home=Path("/home/x\nExecStartPre=/bin/evil"))
    with pytest.raises(UsageError):
        dataclasses.replace(LINUX_SPEC, env={"PATH": "/bin\nUser=root"})


@pytest.mark.parametrize("sign", ["$", '"', "'", "\\"])
def test_a_program_path_that_systemd_cannot_quote_is_refused(sign: str) -> None:
    with pytest.raises(UsageError, match="may not have such a path"):
        dataclasses.replace(LINUX_SPEC, python=Path(f"/opt/a{sign}b/python"))


def test_what_an_installation_does_on_linux() -> None:
    plan = plan_install(LINUX_SPEC, LINUX, 1000)
    assert list(plan.files) == [unit_path(LINUX_SPEC)]
    assert str(unit_path(LINUX_SPEC)).startswith("/home/alice/.config/systemd/user/")
    assert [step.argv for step in plan.after] == [
        ("systemctl", "--user", "daemon-reload"),
        ("systemctl", "--user", "enable", "kakeya-remote-box-1.service"),
        ("loginctl", "enable-linger", "alice"),
        ("systemctl", "--user", "restart", "kakeya-remote-box-1.service"),
    ]
    later = plan_install(dataclasses.replace(LINUX_SPEC, scope="system"), LINUX, 0, start=False)
    assert [path.parts[:3] for path in later.files] == [("/", "etc", "systemd")]
    assert [step.argv[1] for step in later.after] == ["daemon-reload", "enable"]


def test_what_an_installation_does_on_macos() -> None:
    plan = plan_install(MAC_SPEC, MACOS, 501)
    file = plist_path(MAC_SPEC)
    assert str(file) == "/Users/alice/Library/LaunchAgents/kakeya-remote.mac-m4.plist"
    target = "gui/501/kakeya-remote.mac-m4"
    assert [step.argv for step in plan.before] == [("launchctl", "bootout", target)]
    assert list(plan.files) == [file]
    assert [step.argv for step in plan.after] == [
        ("launchctl", "enable", target),
        ("launchctl", "bootstrap", "gui/501", str(file)),
    ]
    daemon = plan_install(dataclasses.replace(MAC_SPEC, scope="system"), MACOS, 501)
    (path,) = daemon.files
    assert str(path) == "/Library/LaunchDaemons/kakeya-remote.mac-m4.plist"
    assert daemon.after[1].argv == ("launchctl", "bootstrap", "system", str(path))
    restart = plan_restart("mac-m4", "user", MACOS, 501)
    assert [step.argv for step in restart.after] == [("launchctl", "kickstart", "-k", target)]
    assert plan_uninstall(MAC_SPEC, MACOS, 501).removed == (file,)
