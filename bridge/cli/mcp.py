"""`kakeya_remote mcp`: the presets as typed tools for an agent, over the Model Context Protocol.

Source: https://modelcontextprotocol.io/specification, through the official package `mcp`.
"""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING, Any

import click

from bridge.cli.options import bus_options, merge_shared

if TYPE_CHECKING:
    from mcp.server.lowlevel import Server

    from bridge.client.tools import Tools
    from bridge.errors import KakeyaError

_INSTRUCTIONS = (
    "Each run_PRESET tool asks remote hardware for one job; a runner's own allowlist decides what "
    "runs. A job's exit_code is its verdict: 0 pass, 5 the job failed, 6 a gate failed, 8 it goes "
    "on (call wait again), 10 inconclusive. Absent data never passes. Waits are bounded: ask for "
    "the id first, then call wait."
)


@click.command("mcp")
@bus_options(embedded=False)
def mcp_command(**given: Any) -> None:
    """Serve the presets to a coding agent as typed tools, on stdin and stdout.

    Needs the extra mcp: pip install 'kakeya-remote[mcp]'. An agent's settings name this command;
    the bus is found as for every other one, from the folder it is started in.

    \b
    Example:
      kakeya_remote mcp --bus /srv/bus.git
    """
    from bridge.errors import MissingPartError

    try:
        import anyio
        import mcp.server  # noqa: F401 - only to know whether it is here
    except ImportError as error:
        raise MissingPartError(
            f"the package {error.name} is not installed",
            where="mcp",
            remedy="pip install -c constraints.txt '.[mcp]'",
        ) from error
    anyio.run(_serve, merge_shared(given))


async def _serve(shared: dict[str, Any]) -> None:
    from mcp.server.stdio import stdio_server

    stopped = threading.Event()
    server = make_server(make_tools(shared, stopped))
    try:
        async with stdio_server() as (reading, writing):
            await server.run(reading, writing, server.create_initialization_options())
    finally:
        stopped.set()  # a wait that nobody reads any more ends


def make_tools(shared: dict[str, Any], stopped: threading.Event) -> Tools:
    """The tools on the bus that the shared options name; their waits end once `stopped` is set."""
    from bridge.client.api import Client
    from bridge.client.tools import Tools
    from bridge.clock import Clock
    from bridge.errors import BusError

    def pause(seconds: float) -> None:
        if stopped.wait(seconds):
            raise BusError("the server ends", where="mcp", remedy="the job goes on: ask again")

    clock = Clock(pause=pause)

    def open_client() -> Client:
        return Client.open(
            shared["bus"], root=shared["root"], profile=shared["profile"], clock=clock
        )

    open_client().close()  # a setting that cannot be is told before anything is served
    return Tools(open_client)


def make_server(tools: Tools) -> Server[Any]:
    """The protocol's side of `tools`."""
    import anyio.to_thread
    import mcp_types as types
    from mcp.server.lowlevel import Server

    from bridge.errors import KakeyaError

    async def list_tools(_: Any, __: Any) -> types.ListToolsResult:
        found = await anyio.to_thread.run_sync(tools.list)
        return types.ListToolsResult(
            tools=[
                types.Tool(
                    name=tool.name,
                    description=tool.description,
                    input_schema=dict(tool.arguments),
                    annotations=types.ToolAnnotations(read_only_hint=tool.reads),
                )
                for tool in found
            ]
        )

    async def call_tool(_: Any, asked: types.CallToolRequestParams) -> types.CallToolResult:
        def work() -> dict[str, Any]:
            return tools.call(asked.name, asked.arguments or {})

        try:
            told = await anyio.to_thread.run_sync(work, abandon_on_cancel=True)
        except KakeyaError as error:
            return answer(tell_error(error), error.as_json(), is_error=True)
        return answer(json.dumps(told, indent=1), told, is_error=False)

    def answer(text: str, data: dict[str, Any], *, is_error: bool) -> types.CallToolResult:
        content: list[types.ContentBlock] = [types.TextContent(type="text", text=text)]
        return types.CallToolResult(content=content, structured_content=data, is_error=is_error)

    return Server(
        "kakeya_remote",
        instructions=_INSTRUCTIONS,
        on_list_tools=list_tools,
        on_call_tool=call_tool,
    )


def tell_error(error: KakeyaError) -> str:
    """What was wrong, each fault at its path, and what to do."""
    return f"{error}\nwhat to do: {error.remedy}" if error.remedy else str(error)
