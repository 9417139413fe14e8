"""The trusted start of a job's interpreter, with code folders that mean harm."""

from __future__ import annotations

import hashlib
import json
import os
import py_compile
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.waiting import until

BOOTSTRAP = Path(__file__).resolve().parents[2] / "executors" / "bootstrap.py"


@dataclass(frozen=True)
class Ran:
    code: int
    stdout: str
    stderr: str
    imported: dict[str, object]
    environment: dict[str, object]


@pytest.fixture
def code(tmp_path: Path) -> Path:
    folder = tmp_path / "code"
    folder.mkdir()
    return folder


def command(code: Path, *arguments: str) -> list[str]:
    report = code.parent / "report"
    report.mkdir(exist_ok=True)
    return [sys.executable, "-I", str(BOOTSTRAP), str(code), str(report), *arguments]


def run(code: Path, *arguments: str, env: dict[str, str] | None = None) -> Ran:
    done = subprocess.run(
        command(code, *arguments),
        cwd=code,
        env={"PATH": "/usr/bin:/bin", **(env or {})},
        capture_output=True,
        timeout=60,
        check=False,
    )
    files = [code.parent / "report" / f"{name}.json" for name in ("imported", "environment")]
    found = [json.loads(path.read_text()) if path.exists() else {} for path in files]
    return Ran(done.returncode, done.stdout.decode(), done.stderr.decode(), *found)


def digest(path: Path) -> str:
    return f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"


def test_a_package_runs_as_python_m_would_run_it(code: Path) -> None:
    (code / "pack").mkdir()
    (code / "pack" / "__init__.py").write_text("print('init', __name__)")
    (code / "pack" / "part.py").write_text("VALUE = 5")
    (code / "pack" / "__main__.py").write_text(
        "import sys\nfrom pack.part import VALUE\n"
        "print(__name__, __package__, VALUE, sys.argv, sys.path[0])\nassert __spec__.name\n"
    )
    ran = run(code, "-m", "pack", "niah", "--job", "x y")
    main = code / "pack" / "__main__.py"
    assert (
        ran.stdout == f"init pack\n__main__ pack 5 {[str(main), 'niah', '--job', 'x y']} {code}\n"
    )
    assert ran.code == 0
    assert ran.imported == {
        "schema": "kakeya.imported/1",
        "code": str(code),
        "module": "pack",
        "files": {
            f"pack/{name}.py": digest(code / "pack" / f"{name}.py")
            for name in ("__init__", "__main__", "part")
        },
        "foreign": {},
    }
    packages = ran.environment["packages"]
    assert isinstance(packages, dict)
    assert packages["psutil"]
    assert ran.environment["executable"] == sys.executable


@pytest.mark.parametrize(
    ("program", "status", "trace"),
    [
        ("raise SystemExit(3)", 3, ""),
        ("raise SystemExit('no')", 1, "no"),
        ("1 / 0", 1, "ZeroDivisionError"),
        ("import no_such_module", 1, "ModuleNotFoundError"),
        ("syntax error here", 1, "SyntaxError"),
    ],
)
def test_every_end_keeps_its_code_and_leaves_the_report(
    code: Path, program: str, status: int, trace: str
) -> None:
    (code / "program.py").write_text(program)
    ran = run(code, "-m", "program")
    assert ran.code == status
    assert trace in ran.stderr
    assert ran.imported["files"] == {"program.py": digest(code / "program.py")}


def test_the_report_is_written_on_sigterm(code: Path) -> None:
    (code / "program.py").write_text("import time\nprint('up', flush=True)\ntime.sleep(1000)")
    process = subprocess.Popen(
        command(code, "-m", "program"), cwd=code, stdout=subprocess.PIPE, env={}
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"up\n"
    process.terminate()
    assert process.wait(30) == -signal.SIGTERM
    process.stdout.close()
    imported = until(lambda: (code.parent / "report" / "imported.json").read_text(), bound_s=5)
    assert "program.py" in json.loads(imported)["files"]


def test_hostile_names_in_the_code_folder_fire_only_when_the_job_imports_them(code: Path) -> None:
    for name in ("sitecustomize", "usercustomize", "json", "runpy", "atexit", "hashlib"):
        (code / f"{name}.py").write_text(f"print('canary {name}')")
    for name in ("bridge", "evidence", "executors"):
        (code / name).mkdir()
        (code / name / "__init__.py").write_text(f"print('canary {name}')")
    (code / "evil.pth").write_text("import os; print('canary pth')")
    (code / "program.py").write_text("print('ran')")
    ran = run(code, "-m", "program", env={"PYTHONPATH": str(code), "PYTHONSTARTUP": "x"})
    assert ran.stdout == "ran\n"
    assert ran.stderr == ""
    assert list(ran.imported["files"]) == ["program.py"]  # type: ignore[call-overload]
    (code / "program.py").write_text("import bridge")
    ran = run(code, "-m", "program")
    assert ran.stdout == "canary bridge\n"
    assert ran.imported["foreign"] == {}


def test_a_house_package_from_elsewhere_is_named(code: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "workloads").mkdir(parents=True)
    (elsewhere / "workloads" / "__init__.py").write_text("")
    (code / "program.py").write_text(
        f"import sys\nsys.path.insert(0, {str(elsewhere)!r})\nimport workloads"
    )
    ran = run(code, "-m", "program")
    assert ran.imported["foreign"] == {"workloads": str(elsewhere / "workloads" / "__init__.py")}


def test_a_link_out_of_the_code_folder_is_foreign(code: Path, tmp_path: Path) -> None:
    (tmp_path / "evidence").mkdir()
    (tmp_path / "evidence" / "__init__.py").write_text("")
    (code / "evidence").symlink_to(tmp_path / "evidence")
    (code / "program.py").write_text("import evidence")
    ran = run(code, "-m", "program")
    assert list(ran.imported["files"]) == ["program.py"]  # type: ignore[call-overload]
    assert list(ran.imported["foreign"]) == ["evidence"]  # type: ignore[call-overload]


def test_bytecode_of_the_commit_is_never_run(code: Path) -> None:
    (code / "part.py").write_text("print('bytecode')")
    cached = py_compile.compile(
        str(code / "part.py"), invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH
    )
    assert cached is not None
    os.replace(
        py_compile.compile(str(code / "part.py"), str(code / "bare.pyc")) or "", code / "bare.pyc"
    )
    (code / "part.py").write_text("print('source')")
    (code / "program.py").write_text(
        "import part\ntry: import bare\nexcept ImportError: print('no')"
    )
    ran = run(code, "-m", "program")
    assert ran.stdout == "source\nno\n"
    assert ran.imported["files"] == {
        "part.py": digest(code / "part.py"),
        "program.py": digest(code / "program.py"),
    }


def test_the_digest_is_of_what_ran_not_of_what_lies_there_later(code: Path) -> None:
    (code / "program.py").write_text("print('first')\nopen(__file__, 'w').write('# changed')")
    ran_digest = digest(code / "program.py")
    assert run(code, "-m", "program").imported["files"] == {"program.py": ran_digest}


def test_a_file_loaded_past_the_import_system_is_seen(code: Path) -> None:
    (code / "plug in.py").write_text("")
    (code / "program.py").write_text(
        "import importlib.util, sys\n"
        "spec = importlib.util.spec_from_file_location('plug', 'plug in.py')\n"
        "sys.modules['plug'] = module = importlib.util.module_from_spec(spec)\n"
        "spec.loader.exec_module(module)\n"
    )
    assert set(run(code, "-m", "program").imported["files"]) == {"program.py", "plug in.py"}  # type: ignore[call-overload]


def test_a_forked_child_writes_no_report(code: Path) -> None:
    (code / "program.py").write_text(
        "import os, sys\n"
        "pid = os.fork()\n"
        "if pid == 0:\n    import part\n    sys.exit(0)\n"
        "os.waitpid(pid, 0)\nprint(os.listdir('../report'))\n"
    )
    (code / "part.py").write_text("")
    ran = run(code, "-m", "program")
    assert ran.stdout == "[]\n"
    assert list(ran.imported["files"]) == ["program.py"]  # type: ignore[call-overload]


def test_a_report_folder_that_cannot_be_written_is_said_and_changes_no_code(code: Path) -> None:
    (code / "program.py").write_text("import os, sys\nos.rmdir('../report')\nsys.exit(5)")
    ran = run(code, "-m", "program")
    assert ran.code == 5
    assert "cannot write its report" in ran.stderr


def test_a_wrong_call_is_told(code: Path) -> None:
    ran = run(code, "program")
    assert ran.code == 2
    assert "usage:" in ran.stderr
