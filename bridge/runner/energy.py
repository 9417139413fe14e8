"""The energy that this machine says it used while a job ran, where it says so.

Sources: Linux powercap (Documentation/power/powercap/powercap.rst: `energy_uj` counts up to
`max_energy_range_uj` and begins again), NVML (`nvmlDeviceGetTotalEnergyConsumption`, millijoules),
powermetrics(1) on macOS. What is told is the whole machine's: jobs that run side by side are each
told all of it.
"""

from __future__ import annotations

import ctypes
import re
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bridge import proc
from bridge.errors import KakeyaError

EVERY_S = 10.0
"""How often the counters are read: the smallest RAPL range lasts about a minute at 1 kW."""
_POWERCAP = Path("/sys/class/powercap")
_NVML = "libnvidia-ml.so.1"
_POWERMETRICS = ("powermetrics", "-n", "1", "-i", "1000", "--samplers", "cpu_power,gpu_power")
_COMBINED = re.compile(rb"^Combined Power \([^)]*\): ([0-9]{1,9}) mW$", re.MULTILINE)


class Source(ABC):
    """Something that tells energy.

    Attributes:
        name: what the record calls it.
    """

    name: str

    @abstractmethod
    def take(self) -> float | None:
        """Joules since the last call, None where it cannot be told; the first call begins."""


class Rapl(Source):
    """One package of a CPU, or the memory beside it.

    Args:
        folder: its folder below powercap.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._last_uj: int | None = None
        self.name = f"rapl:{(folder / 'name').read_text('ascii').strip()}"

    def take(self) -> float | None:
        """See `Source.take`."""
        try:
            now_uj = int((self._folder / "energy_uj").read_text("ascii"))
            range_uj = int((self._folder / "max_energy_range_uj").read_text("ascii"))
        except (OSError, ValueError):  # since Linux 5.10 the counter is root's alone
            return None
        before_uj, self._last_uj = self._last_uj, now_uj
        if before_uj is None:
            return 0.0
        return (now_uj - before_uj + (range_uj if now_uj < before_uj else 0)) / 1e6


class Nvidia(Source):
    """One GPU, by NVML.

    Args:
        library: NVML, initialised.
        index: the GPU's number.
    """

    def __init__(self, library: ctypes.CDLL, index: int) -> None:
        self.name = f"nvml:{index}"
        self._library = library
        self._device = ctypes.c_void_p()
        self._last_mj: int | None = None
        library.nvmlDeviceGetHandleByIndex_v2(index, ctypes.byref(self._device))

    def take(self) -> float | None:
        """See `Source.take`."""
        counter = ctypes.c_ulonglong()
        ask = self._library.nvmlDeviceGetTotalEnergyConsumption
        if ask(self._device, ctypes.byref(counter)) != 0:  # a GPU older than Volta
            return None
        before_mj, self._last_mj = self._last_mj, counter.value
        return 0.0 if before_mj is None else max(0, counter.value - before_mj) / 1e3


class Powermetrics(Source):
    """CPU and GPU of an Apple machine, sampled for a second at a time; needs root."""

    name = "powermetrics"

    def __init__(self) -> None:
        self._last_s: float | None = None

    def take(self) -> float | None:
        """See `Source.take`; the power of the sampled second stands for the time before it."""
        try:
            done = proc.run(_POWERMETRICS, cwd=Path("/"), env=proc.base_env(), timeout_s=10.0)
        except KakeyaError:
            return None
        found = _COMBINED.search(done.stdout) if done.code == 0 else None
        if found is None:
            return None
        now_s, before_s = time.monotonic(), self._last_s
        self._last_s = now_s
        return 0.0 if before_s is None else int(found[1]) / 1e3 * (now_s - before_s)


def find_sources(
    powercap: Path = _POWERCAP, nvml: str = _NVML, *, with_programs: bool = True
) -> tuple[Source, ...]:
    """Everything on this machine that tells energy now.

    Args:
        powercap: Linux's folder of power zones.
        nvml: file name of NVML.
        with_programs: also ask programs.
    """
    found: list[Source] = []
    for folder in sorted(powercap.glob("intel-rapl:*")):
        # intel-rapl:0 is a package, intel-rapl:0:0 a part of it that the package counts already
        if folder.name.count(":") == 1 and (folder / "name").is_file():
            found.append(Rapl(folder))
    found += _find_gpus(nvml)
    if with_programs:
        found.append(Powermetrics())
    return tuple(source for source in found if source.take() is not None)


def _find_gpus(nvml: str) -> list[Source]:
    try:
        library = ctypes.CDLL(nvml)
    except OSError:
        return []
    count = ctypes.c_uint()
    if library.nvmlInit_v2() != 0 or library.nvmlDeviceGetCount_v2(ctypes.byref(count)) != 0:
        return []
    return [Nvidia(library, index) for index in range(count.value)]


class Meter:
    """Adds up what the sources tell between `start` and `stop`.

    Args:
        sources: what is asked; they have been asked once already.
        every_s: how often.
        why: what is told where there is none to ask.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        *,
        every_s: float = EVERY_S,
        why: str = "",
    ) -> None:
        self._why = why or "this machine tells none"
        self._sources, self._every_s = tuple(sources), every_s
        self._joules = dict.fromkeys((source.name for source in sources), 0.0)
        self._stopped = threading.Event()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._watch, name="energy", daemon=True)

    def start(self) -> None:
        """Begin to count."""
        self._read()
        self._joules = dict.fromkeys(self._joules, 0.0)
        if self._sources:
            self._thread.start()

    def stop(self) -> dict[str, Any]:
        """What was used since the start, as the record tells it."""
        self._stopped.set()
        self._read()
        if not self._sources:
            return absent(self._why)
        return {
            "joules": f"{sum(self._joules.values()):.3f}",
            "by": {name: f"{joules:.3f}" for name, joules in self._joules.items()},
            "scope": "machine",
        }

    def _watch(self) -> None:
        while not self._stopped.wait(self._every_s):
            self._read()

    def _read(self) -> None:
        with self._lock:
            for source in self._sources:
                self._joules[source.name] += source.take() or 0.0


def absent(why: str) -> dict[str, Any]:
    """What the record tells where no energy is known."""
    return {"joules": None, "why": why}


def start_meter(executor: str) -> Meter:
    """A meter that counts from now, for a job that this executor launches."""
    here = executor in ("local", "pueue")
    meter = Meter(
        find_sources() if here else (), why="" if here else f"{executor} runs it elsewhere"
    )
    meter.start()
    return meter
