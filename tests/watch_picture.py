"""`python -m tests.watch_picture`: draws the picture of `watch` in the README from a real bus.

The bus, its commits and the view are real; the runners are played, so that the picture shows a
queue, a running job and a silent runner at once.
"""

from __future__ import annotations

import asyncio
import os
import re
import tempfile
from dataclasses import replace
from pathlib import Path

from bridge import canonical
from bridge.bus.commits import compose_step, runner_identity
from bridge.bus.profile import PROFILES
from bridge.bus.refs import Refs
from bridge.cli.screen import Screen
from bridge.client.api import Client
from bridge.client.settings import Settings
from bridge.clock import Clock
from bridge.records import PresetRef, Progress
from bridge.states import Event
from tests import samples
from tests.actors import WHEN_S, open_bus
from tests.integration.client_rig import ScriptedRunner, make_evidence
from tests.lab import REPO, make_bare

OUT = REPO / "docs" / "img" / "watch.svg"
_LOG = b"""equilibrium: 12 of 40 steps, loss 0.4182
equilibrium: 14 of 40 steps, loss 0.3977
equilibrium: 16 of 40 steps, loss 0.3815
"""
_FONT = re.compile(r"@font-face \{.*?\}\s*", re.DOTALL)


def fill(mac: ScriptedRunner, box: ScriptedRunner) -> str:
    """Jobs of every kind; the ref of one that is running."""
    for verdict in ("pass", "fail", "pass", "inconclusive", "pass"):
        ref = mac.submit(requested_by="nightly", preset=_preset("niah-smoke"))
        mac.claim(ref)
        end(mac, ref, verdict)
    first = box.submit(requested_by="ana", preset=_preset("niah-smoke"))
    box.claim(first)
    running = mac.submit(requested_by="a cloud agent", preset=_preset("equilibrium-tiny"))
    mac.claim(running)
    mac.log(running, _LOG, Progress(16, 40, 74.0, "loss 0.3815"))
    for name in ("restoration-tiny", "kvquant-tiny"):
        mac.submit(requested_by="ben", preset=_preset(name))
    return running


def end(mac: ScriptedRunner, ref: str, verdict: str) -> None:
    """End a job a minute after its claim, by the dates of the commits."""
    chain = mac.bus.load(ref)
    evidence = make_evidence(verdict)
    result = samples.make_result(
        chain, by=mac.name, verdict=verdict, evidence=canonical.digest_bytes(evidence)
    )
    commit = compose_step(
        chain,
        Event.DONE,
        result,
        author=runner_identity(mac.name),
        when_s=WHEN_S + 60,
        files={"evidence.json": evidence},
    )
    mac.push(ref, commit, chain.tip)


def _preset(name: str) -> PresetRef:
    return PresetRef(name, canonical.digest(name))


async def draw(client: Client, chosen: str) -> str:
    """The view as SVG, once it shows the chosen job's output."""
    screen = Screen(client, every_s=3600.0)
    async with screen.run_test(size=(132, 30)) as pilot:
        for _ in range(2000):
            await pilot.pause(0.02)
            if screen.chosen is None:
                continue
            if not chosen.endswith(screen.chosen.status.id):
                await pilot.press("down")
            elif "loss" in str(screen.query_one("#output").render()):
                return _FONT.sub("", screen.export_screenshot(title="kakeya_remote watch"))
    raise AssertionError("the view never showed the output")


def main() -> None:
    """Draw the picture."""
    with tempfile.TemporaryDirectory(prefix="kakeya-watch-") as scratch:
        folder = Path(scratch)
        os.environ["GIT_CONFIG_NOSYSTEM"] = "1"
        make_bare(folder / "bus.git")
        url = str(folder / "bus.git")
        mac = ScriptedRunner(open_bus(url, folder / "mac"), "mac-m4")
        box = ScriptedRunner(open_bus(url, folder / "box"), "gpu-box")
        mac.beat()
        running = fill(mac, box)
        settings = Settings(url, Refs(), replace(PROFILES["local"]), (), folder / "client", {})
        clock = Clock(wall_s=lambda: WHEN_S + 3.0)
        with Client(settings, checkout=None, clock=clock) as client:
            OUT.write_text(asyncio.run(draw(client, running)), "utf-8")
        mac.bus.close()
        box.bus.close()


if __name__ == "__main__":
    main()
