"""What a machine says of its energy: counters that wrap, a library in C, a program, and none."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bridge import proc
from bridge.runner.energy import Meter, Powermetrics, Rapl, find_sources, start_meter
from tests.waiting import until

RANGE_UJ = 10_000_000


def write_zone(folder: Path, energy_uj: int, name: str = "package-0") -> Path:
    """A power zone as the kernel shows it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "name").write_text(f"{name}\n")
    (folder / "max_energy_range_uj").write_text(f"{RANGE_UJ}\n")
    (folder / "energy_uj").write_text(f"{energy_uj}\n")
    return folder


def test_a_counter_that_begins_again_loses_nothing(tmp_path: Path) -> None:
    zone = write_zone(tmp_path / "intel-rapl:0", 9_000_000)
    source = Rapl(zone)
    assert source.take() == 0.0
    write_zone(zone, 9_500_000)
    assert source.take() == 0.5
    write_zone(zone, 250_000)
    assert source.take() == 0.75
    (zone / "energy_uj").write_text("denied")
    assert source.take() is None


def test_packages_count_and_their_parts_do_not(tmp_path: Path) -> None:
    write_zone(tmp_path / "intel-rapl:0", 1)
    write_zone(tmp_path / "intel-rapl:0:0", 1, "core")
    write_zone(tmp_path / "intel-rapl:1", 1, "package-1")
    found = find_sources(tmp_path, "no-such-library.so", with_programs=False)
    assert [source.name for source in found] == ["rapl:package-0", "rapl:package-1"]


def test_a_meter_adds_up_what_was_used_since_it_began(tmp_path: Path) -> None:
    zone = write_zone(tmp_path / "intel-rapl:0", 0)
    meter = Meter(find_sources(tmp_path, "none.so", with_programs=False), every_s=0.001)
    write_zone(zone, 8_000_000)  # before the start: not this job's
    meter.start()
    write_zone(zone, 9_000_000)
    told = meter.stop()
    assert told == {"joules": "1.000", "by": {"rapl:package-0": "1.000"}, "scope": "machine"}
    write_zone(zone, 9_900_000)
    assert meter.stop()["joules"] == "1.900"


def test_a_meter_looks_often_enough_to_see_a_counter_begin_again_twice(tmp_path: Path) -> None:
    zone = write_zone(tmp_path / "intel-rapl:0", 0)
    source = Rapl(zone)
    source.take()
    taken: list[float] = []

    class Watched(Rapl):
        def take(self) -> float | None:
            found = super().take()
            taken.append(found or 0.0)
            return found

    meter = Meter([Watched(zone)], every_s=0.001)
    meter.start()
    for energy_uj in (9_000_000, 1_000_000, 9_000_000, 1_000_000):
        write_zone(zone, energy_uj)
        seen = len(taken)
        until(lambda seen=seen: len(taken) > seen + 1, what="a reading")
    assert meter.stop()["joules"] == "21.000"


def test_a_machine_that_tells_nothing_is_told_so(tmp_path: Path) -> None:
    meter = Meter(find_sources(tmp_path, "none.so", with_programs=False))
    meter.start()
    assert meter.stop() == {"joules": None, "why": "this machine tells none"}
    assert start_meter("slurm").stop() == {"joules": None, "why": "slurm runs it elsewhere"}


NVML = r"""
#include <stddef.h>
static unsigned long long spent[2] = {1000, 500000};
static int numbers[2] = {0, 1};
int nvmlInit_v2(void) { return 0; }
int nvmlDeviceGetCount_v2(unsigned int *count) { *count = 2; return 0; }
int nvmlDeviceGetHandleByIndex_v2(unsigned int index, void **device) {
  *device = &numbers[index]; return 0;
}
int nvmlDeviceGetTotalEnergyConsumption(void *device, unsigned long long *mj) {
  int index;
  if (device == NULL) return 2;
  index = *(int *)device;
  if (index == 1) return 3; /* NVML_ERROR_NOT_SUPPORTED */
  spent[index] += 2500;
  *mj = spent[index];
  return 0;
}
"""


@pytest.mark.real("cc")
def test_a_gpu_is_asked_through_the_library_as_its_header_declares_it(tmp_path: Path) -> None:
    (tmp_path / "nvml.c").write_text(NVML)
    argv = ["cc", "-shared", "-fPIC", "-o", "libnvml.so", "nvml.c"]
    done = proc.run(argv, cwd=tmp_path, env=proc.base_env(), timeout_s=60)
    assert done.code == 0, done.stderr.decode()
    sources = find_sources(tmp_path, str(tmp_path / "libnvml.so"), with_programs=False)
    assert [source.name for source in sources] == ["nvml:0"], "one that is too old tells nothing"
    meter = Meter(sources)
    meter.start()
    assert meter.stop()["by"] == {"nvml:0": "2.500"}


def test_powermetrics_is_read_as_it_prints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "powermetrics"
    program.write_text(
        "#!/bin/sh\ncat <<'END'\n*** Sampled system activity ***\nCPU Power: 1200 mW\n"
        "GPU Power: 300 mW\nCombined Power (CPU + GPU + ANE): 1500 mW\nEND\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    source = Powermetrics()
    assert source.take() == 0.0
    told = source.take()
    assert told is not None
    assert told > 0.0
    program.write_text("#!/bin/sh\necho 'must be invoked as the superuser'; exit 1\n")
    assert source.take() is None
