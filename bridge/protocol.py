"""Draws the state machines into PROTOCOL.md: `python -m bridge.protocol`, or `make protocol`."""

from __future__ import annotations

from pathlib import Path

from bridge import campaigns, states
from bridge.errors import IntegrityError

PATH = Path(__file__).with_name("PROTOCOL.md")

_BEGIN = "<!-- drawn from bridge/{module}.py by `make protocol`: {name} -->\n"
_END = "<!-- end -->\n"


def draw(text: str) -> str:
    """`text` with the diagrams and the tables between their markers as the code has them.

    Raises:
        IntegrityError: a marker is missing.
    """
    text = _replace(text, "states", "diagram", _mermaid(states.draw_diagram()))
    text = _replace(text, "states", "table", f"{states.draw_table()}\n")
    text = _replace(text, "campaigns", "diagram", _mermaid(campaigns.draw_diagram()))
    return _replace(text, "campaigns", "table", f"{campaigns.draw_table()}\n")


def _mermaid(diagram: str) -> str:
    return f"```mermaid\n{diagram}\n```\n"


def _replace(text: str, module: str, name: str, drawn: str) -> str:
    head, begin, rest = text.partition(_BEGIN.format(module=module, name=name))
    _, end, tail = rest.partition(_END)
    if not begin or not end:
        what = f"the markers of the {name} of {module}"
        raise IntegrityError(f"{what} are missing", where=PATH.name)
    return f"{head}{begin}{drawn}{end}{tail}"


def main() -> None:
    """Draw all of them anew."""
    PATH.write_text(draw(PATH.read_text("utf-8")), "utf-8")


if __name__ == "__main__":
    main()
