"""Draws the state machine into PROTOCOL.md: `python -m bridge.protocol`, or `make protocol`."""

from __future__ import annotations

from pathlib import Path

from bridge import states
from bridge.errors import IntegrityError

PATH = Path(__file__).with_name("PROTOCOL.md")

_BEGIN = "<!-- drawn from bridge/states.py by `make protocol`: {name} -->\n"
_END = "<!-- end -->\n"


def draw(text: str) -> str:
    """`text` with the diagram and the table between their markers as the code has them.

    Raises:
        IntegrityError: a marker is missing.
    """
    text = _replace(text, "diagram", f"```mermaid\n{states.draw_diagram()}\n```\n")
    return _replace(text, "table", f"{states.draw_table()}\n")


def _replace(text: str, name: str, drawn: str) -> str:
    head, begin, rest = text.partition(_BEGIN.format(name=name))
    _, end, tail = rest.partition(_END)
    if not begin or not end:
        raise IntegrityError(f"the markers of the {name} are missing", where=PATH.name)
    return f"{head}{begin}{drawn}{end}{tail}"


def main() -> None:
    """Draw both anew."""
    PATH.write_text(draw(PATH.read_text("utf-8")), "utf-8")


if __name__ == "__main__":
    main()
