"""`python -m tests.agent_session`: an agent's whole session, as docs/agents.md shows it.

A bus in a folder and a live runner are made, the session is held by command line and over the Model
Context Protocol, and what was asked and answered is printed as Markdown. Answers are cut where a
page would drown in them (`...`), and otherwise left as they came.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from bridge import proc
from tests.lab import Lab, make_bare, make_checkout, open_lab

_WIDTH = 100
_SHOWN = ("id", "state", "verdict", "exit_code", "gates", "message", "metrics", "next")


def say(words: str) -> None:
    """One line of the page."""
    sys.stdout.write(f"{words}\n")


class Terminal:
    """A shell whose one program is ours."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self._env = {**proc.base_env(), "PYTHONPATH": str(lab.checkout), "KAKEYA_BUS": lab.url}
        self._env["KAKEYA_CACHE"] = str(lab.folder / "agent")

    def run(self, *words: str, keep: int = 12) -> str:
        """Run a command, print it with what it answered, and return its stdout."""
        argv = [sys.executable, "-m", "bridge.cli.main", *words]
        done = proc.run(argv, cwd=self._lab.checkout, env=self._env, timeout_s=600)
        say(f"$ kakeya_remote {' '.join(words)}")
        lines = (done.stdout + done.stderr).decode().rstrip().splitlines()
        for line in lines[:keep]:
            say(line if len(line) <= _WIDTH else f"{line[: _WIDTH - 3]}...")
        if len(lines) > keep:
            say("...")
        say(f"$ echo $?\n{done.code}")
        return done.stdout.decode()


def by_command(lab: Lab) -> None:
    """The session in a shell."""
    shell = Terminal(lab)
    say("```console")
    shell.run("presets", "probe", keep=8)
    shell.run("run", "probe", "-p", "repeats=1")
    job_id = shell.run("run", "probe", "-p", "repeats=3", "--id", "look-at-the-box").strip()
    shell.run("wait", job_id, "--timeout", "600")
    shell.run("why", job_id)
    shell.run("results", job_id, "--out", "found", keep=7)
    say("```")


def by_protocol(lab: Lab) -> None:
    """The session over the Model Context Protocol, with its official client."""
    from mcp.client import Client
    from mcp.client.stdio import StdioServerParameters

    env = {**proc.base_env(), "PYTHONPATH": str(lab.checkout)}
    env["KAKEYA_CACHE"] = str(lab.folder / "agent")
    server = StdioServerParameters(
        command=sys.executable,
        args=["-m", "bridge.cli.main", "mcp", "--bus", lab.url],
        env=env,
        cwd=lab.checkout,
    )

    async def session() -> None:
        async with Client(server, read_timeout_seconds=900) as client:
            tools = {tool.name: tool for tool in (await client.list_tools()).tools}
            say(f"> list tools\n{', '.join(sorted(tools))}")
            bounds = tools["run_probe"].input_schema["properties"]["params"]["properties"]
            say(f"> run_probe takes\n{json.dumps(bounds['repeats'])}")
            await _call(client, "run_probe", params={"repeats": 1})
            asked = await _call(client, "run_probe", params={"repeats": 3}, key="from-an-agent")
            await _call(client, "wait", id=asked["id"], timeout_s=300)
            await _call(client, "evidence", id=asked["id"])

    say("```text")
    asyncio.run(session())
    say("```")


async def _call(client: Any, name: str, **arguments: Any) -> dict[str, Any]:
    say(f"> {name} {json.dumps(arguments)}")
    answer = await client.call_tool(name, arguments)
    told: dict[str, Any] = answer.structured_content
    if answer.is_error:
        say(answer.content[0].text)
        return told
    for key in _SHOWN:
        if key in told:
            line = f"{key}: {json.dumps(told[key])}"
            say(line if len(line) <= 3 * _WIDTH else f"{line[: 3 * _WIDTH]}...")
    return told


def main() -> None:
    """Hold the session."""
    with tempfile.TemporaryDirectory(prefix="kakeya-session-") as scratch:
        folder = Path(scratch)
        os.environ["GIT_CONFIG_NOSYSTEM"] = "1"
        make_bare(folder / "bus.git")
        lab = open_lab(make_checkout(folder / "checkout"), str(folder / "bus.git"), folder / "lab")
        with lab.runner("box"):
            by_command(lab)
            say("")
            by_protocol(lab)
        lab.bus.close()


if __name__ == "__main__":
    main()
