"""`kakeya_remote mcp` as an agent meets it: the official client, over stdio, on a real bus."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from bridge import proc
from presets.binding import bind
from presets.catalog import load_catalog
from presets.json_schema import params_schema
from tests.lab import REPO, Lab

pytestmark = pytest.mark.real("mcp")

Talk = Callable[[Any], Awaitable[None]]


def serve(lab: Lab, talk: Talk, *, bus: str | None = None) -> None:
    """Start the server as an agent's settings do, and let `talk` speak with it."""
    from mcp.client import Client
    from mcp.client.stdio import StdioServerParameters

    cache = {"KAKEYA_CACHE": str(lab.folder / "agent")}
    parameters = StdioServerParameters(
        command=sys.executable,
        args=["-m", "bridge.cli.main", "mcp", "--bus", bus or lab.url, "--profile", "local"],
        env={**proc.base_env(), "PYTHONPATH": str(lab.checkout), **cache},
        cwd=lab.checkout,
    )

    async def session() -> None:
        async with Client(parameters, read_timeout_seconds=900) as client:
            await talk(client)

    asyncio.run(session())


async def ask(client: Any, name: str, **arguments: Any) -> dict[str, Any]:
    """What a tool answers."""
    answer = await client.call_tool(name, arguments)
    assert not answer.is_error, answer.content[0].text
    told: dict[str, Any] = answer.structured_content
    return told


async def refusal(client: Any, name: str, **arguments: Any) -> tuple[str, dict[str, Any]]:
    """The text and the data of an error that a tool answers with."""
    answer = await client.call_tool(name, arguments)
    assert answer.is_error
    return answer.content[0].text, answer.structured_content


def test_every_preset_is_a_typed_tool_with_its_bounds(lab: Lab) -> None:
    async def talk(client: Any) -> None:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        presets = {f"run_{name}" for name in lab.catalog.presets}
        others = {"run", "wait", "status", "list", "runners", "logs", "evidence", "why", "cancel"}
        assert tools.keys() == presets | others
        samples = tools["run_niah-smoke"].input_schema["properties"]["params"]["properties"]
        wanted = lab.catalog.get("niah-smoke").document["params"]["samples"]
        bounds = samples["samples"]
        assert (bounds["type"], bounds["minimum"], bounds["maximum"], bounds["default"]) == (
            "integer",
            wanted["min"],
            wanted["max"],
            wanted["default"],
        )
        assert tools["wait"].annotations.read_only_hint
        assert not tools["cancel"].annotations.read_only_hint
        for tool in tools.values():
            jsonschema.Draft202012Validator.check_schema(tool.input_schema)

    serve(lab, talk)


def test_a_job_is_run_followed_explained_and_cancelled(lab: Lab) -> None:
    async def talk(client: Any) -> None:
        asked = await ask(client, "run_noop", params={"seconds": 0}, wait_s=120)
        assert (asked["exit_code"], asked["verdict"]) == (0, "pass")
        assert [gate["verdict"] for gate in asked["gates"]] == ["pass"]
        job_id = asked["id"]
        evidence = await ask(client, "evidence", id=job_id)
        assert evidence["result"]["gates"] == "pass"
        assert evidence["metrics"][0]["name"] == "slept_s"
        assert (await ask(client, "logs", id=job_id))["left_out"] == 0
        assert (await ask(client, "why", id=job_id))["message"] == "it has ended: done"
        slow = await ask(client, "run", preset="noop", params={"seconds": 600})
        unfinished = await ask(client, "wait", id=slow["id"], timeout_s=1)
        assert unfinished["exit_code"] == 8
        ended = await ask(client, "cancel", id=slow["id"], reason="enough")
        assert ended["state"] == "cancelled"
        rows = (await ask(client, "list", limit=5))["jobs"]
        assert {row["id"]: row["state"] for row in rows} == {
            job_id: "done",
            slow["id"]: "cancelled",
        }
        (runner,) = (await ask(client, "runners"))["runners"]
        assert (runner["runner"], runner["state"]) == ("lab-1", "alive")

    with lab.runner():
        serve(lab, talk)


def test_what_is_wrong_is_refused_with_its_path_and_what_to_do(lab: Lab) -> None:
    async def talk(client: Any) -> None:
        text, told = await refusal(client, "run_niah-smoke", params={"samples": 21, "sample": 1})
        assert "$.params.samples: 21 lies outside 1 to 20" in text
        assert "$.params.sample: unknown; did you mean samples?" in text
        assert "what to do: " in text
        assert told["exit_code"] == 2
        assert len(told["problems"]) == 2
        text, _ = await refusal(client, "wait", id="0" * 26, timeout_s=601)
        assert "$.timeout_s: 601 is greater than the maximum of 600" in text
        text, _ = await refusal(client, "run_noop", params={}, shell="true")
        assert "'shell' was unexpected" in text
        text, _ = await refusal(client, "evidence", id="0" * 26)
        assert "no job" in text
        text, _ = await refusal(client, "run_nothing")
        assert "there is no tool 'run_nothing'" in text

    serve(lab, talk)


@pytest.mark.slow
@pytest.mark.real("transformers")
@pytest.mark.timeout(2700)
def test_niah_smoke_is_run_to_its_verdict(lab: Lab, assets: dict[str, Path]) -> None:
    async def talk(client: Any) -> None:
        asked = await ask(client, "run_niah-smoke", params={"samples": 1}, key="one")
        again = await ask(client, "run_niah-smoke", params={"samples": 1}, key="one")
        assert (again["id"], again["created"]) == (asked["id"], False)
        for _ in range(8):
            told = await ask(client, "wait", id=asked["id"], timeout_s=300)
            if told["exit_code"] != 8:
                break
        assert told["state"] == "done", told
        verdicts = {gate["id"]: gate["verdict"] for gate in told["gates"]}
        assert verdicts.keys() == {gate["id"] for gate in lab.catalog.get("niah-smoke").gates}
        assert verdicts["eviction-happens"] == "pass"
        assert verdicts["absent-finds-nothing"] == "pass"
        assert told["exit_code"] == {"pass": 0, "fail": 6, "inconclusive": 10}[told["verdict"]]

    cache = str(assets["smollm2-135m-instruct"].parent)
    with lab.runner(extra_env={"KAKEYA_ASSETS": cache}):
        serve(lab, talk)


@pytest.mark.parametrize("name", sorted(load_catalog(REPO / "presets").presets))
def test_the_schema_of_the_params_admits_what_the_preset_admits(name: str) -> None:
    preset = load_catalog(REPO / "presets").get(name)
    validator = jsonschema.Draft202012Validator(params_schema(preset))
    examples = {param.name: param.example() for param in preset.params.values()}
    assert bind(preset, examples) == examples
    assert list(validator.iter_errors(examples)) == []
    for param in preset.params.values():
        for value in (-(10**17), 10**17, "\n", "../x", None, [], "-x y"):
            wrong = {**examples, param.name: value}
            if param.fault(value) is None:
                assert list(validator.iter_errors(wrong)) == [], (param.name, value)
            else:
                assert list(validator.iter_errors(wrong)), (param.name, value)


def test_without_the_package_the_command_says_what_to_install(tmp_path: Path) -> None:
    done = proc.run(
        [sys.executable, "-c", _WITHOUT, str(REPO)],
        cwd=tmp_path,
        env=proc.base_env(),
        timeout_s=60,
    )
    assert done.code == 2, done.stderr.decode()
    assert "pip install" in done.stderr.decode()


_WITHOUT = """
import sys
sys.path.insert(0, sys.argv[1])
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "mcp":
            raise ImportError("not here", name="mcp")
sys.meta_path.insert(0, Absent())
from bridge.cli.main import main
sys.exit(main(["mcp"]))
"""
