"""`python -m workloads NAME --job job.json`: one workload in its own process."""

from __future__ import annotations

import argparse
import importlib
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType, ModuleType
from typing import NoReturn

from bridge.errors import KakeyaError, MissingPartError, UsageError
from workloads.shared import job
from workloads.shared.context import Context
from workloads.shared.progress import Progress

# Each module holds a frozen `Config` and `run(config, context)`; imported only when it is asked
# for, since most of them import torch.
WORKLOADS = {
    "ams-audit": "workloads.ams_audit",
    "ams-v4": "workloads.ams_v4",
    "equilibrium": "workloads.equilibrium",
    "journal": "workloads.journal",
    "kvquant": "workloads.kvquant",
    "mlxport": "workloads.mlxport",
    "niah": "workloads.niah",
    "noop": "workloads.noop",
    "probe": "workloads.probe",
    "pytest-path": "workloads.pytest_path",
    "restoration": "workloads.restoration",
    "routing": "workloads.routing",
    "specdecode": "workloads.specdecode",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one workload; returns the exit code: 0 done, 2 the job file is wrong."""
    arguments = _parse(argv)
    try:
        with Context.open(_load_job(arguments), progress=Progress.to_terminal()) as context:
            _run(arguments.workload, context)
    except KakeyaError as error:
        sys.stderr.write(f"{error}\n")
        if error.remedy:
            sys.stderr.write(f"  try: {error.remedy}\n")
        return int(error.exit_code)
    return 0


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m workloads", description=__doc__)
    parser.add_argument("workload", choices=sorted(WORKLOADS))
    parser.add_argument("--job", type=Path, required=True, help="job.json, schema kakeya.job/1")
    parser.add_argument(
        "--threads",
        type=int,
        default=None,
        help="compute threads; OMP_NUM_THREADS where it is not given",
    )
    return parser.parse_args(argv)


def _load_job(arguments: argparse.Namespace) -> job.Job:
    # Threads that spin while they wait cost a loaded machine a factor of ten (docs/niah.md).
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if arguments.threads is not None:
        if arguments.threads < 1:
            raise UsageError("at least one thread is needed", where="--threads")
        # numpy and torch read it when they are imported, which has not happened yet.
        os.environ["OMP_NUM_THREADS"] = str(arguments.threads)
    loaded = job.load(arguments.job)
    if loaded.workload is not None and loaded.workload != arguments.workload:
        raise UsageError(
            f"the job is for {loaded.workload!r}, the command names {arguments.workload!r}",
            where=f"{arguments.job}: $.workload",
        )
    return loaded


def _run(name: str, context: Context) -> None:
    module = _import(name)
    config = job.build_config(module.Config, context.job.config, where=str(context.job.path))
    context.start(name, config)
    module.run(config, context)


def _import(name: str) -> ModuleType:
    try:
        return importlib.import_module(WORKLOADS[name])
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] in ("workloads", "bridge"):
            raise
        raise MissingPartError(
            f"workload {name} needs the package {error.name}",
            where=sys.executable,
            remedy="pip install 'kakeya-remote[workloads]' -c constraints.txt",
        ) from error


def _end(signum: int, _frame: FrameType | None) -> NoReturn:
    """Leave by an exception, so that the context still writes what it has."""
    raise SystemExit(128 + signum)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _end)
    sys.exit(main())
