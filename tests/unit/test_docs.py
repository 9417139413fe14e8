"""The pages are held to the program: links, exit codes, commands, options, settings."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest

from bridge import schema
from bridge.cli.main import COMMANDS, group
from bridge.errors import ExitCode

ROOT = Path(__file__).resolve().parents[2]
PAGES = [
    *sorted(ROOT.glob("*.md")),
    *sorted((ROOT / "docs").glob("*.md")),
    ROOT / ".github" / "CONTRIBUTING.md",
]
_LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")
_FENCE = re.compile(r"^ *```(?:sh|console)\n(.*?)^ *```", re.MULTILINE | re.DOTALL)
_CODE_ROW = re.compile(r"^\| (\d+) \|", re.MULTILINE)
_KEY_ROW = re.compile(r"^\| ((?:`[a-z_.]+`(?:, )?)+) \|", re.MULTILINE)

pages = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


@pages
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    links = [link for link in _LINK.findall(page.read_text("utf-8")) if "://" not in link]
    assert [link for link in links if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("name", ["README.md", "docs/agents.md", "docs/cli.md"])
def test_every_exit_code_has_its_row(name: str) -> None:
    codes = [int(code) for code in _CODE_ROW.findall((ROOT / name).read_text("utf-8"))]
    assert codes == sorted(ExitCode)


@pages
def test_every_command_of_a_page_is_one_of_the_program(page: Path) -> None:
    for words in _commands(page.read_text("utf-8")):
        command, rest = _resolve(words)
        known = {option for item in command.params for option in (*item.opts, *item.secondary_opts)}
        used = {word.split("=")[0] for word in rest if re.match(r"--?[a-z]", word)}
        assert used <= known | {"--help"}, words


def test_the_reference_lists_every_command() -> None:
    text = (ROOT / "docs" / "cli.md").read_text("utf-8")
    for name in COMMANDS:
        command, _ = _resolve([name])
        wanted = (
            [f"{name} {child}" for child in command.commands]
            if isinstance(command, click.Group)
            else [name]
        )
        for line in wanted:
            assert re.search(rf"`{line}[ `]", text), f"docs/cli.md does not list {line}"


def test_every_setting_of_a_runner_has_its_row() -> None:
    text = (ROOT / "docs" / "operators.md").read_text("utf-8")
    table = text.split("## The runner's own file")[1].split("##")[0]
    told = {
        key.split(".")[0] for row in _KEY_ROW.findall(table) for key in re.findall(r"`(.*?)`", row)
    }
    assert told == set(schema.load("bridge", "runner")["properties"])


def _commands(text: str) -> list[list[str]]:
    """The words behind `kakeya_remote` of each line in a page's shell blocks."""
    lines = [
        line
        for block in _FENCE.findall(text)
        for line in block.replace("\\\n", " ").splitlines()
        if "kakeya_remote " in line and "git clone" not in line
    ]
    found = []
    for line in lines:
        rest = re.split(r"kakeya_remote ", line, maxsplit=1)[1]
        words = shlex.split(re.split(r"\)\s|\)$", rest)[0], comments=True)
        found.append(words)
    return [words for words in found if words and not words[0].startswith("-")]


def _resolve(words: list[str]) -> tuple[click.Command, list[str]]:
    """The command that the words name, and the words behind its name."""
    context = click.Context(group)
    command: click.Command = group
    rest = list(words)
    while isinstance(command, click.Group) and rest:
        child = command.get_command(context, rest[0])
        assert child is not None, f"there is no command {' '.join(words)}"
        command, rest = child, rest[1:]
        if not isinstance(command, click.Group):
            break
    return command, rest
