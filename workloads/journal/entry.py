"""The entry itself: a value, and the page that a person reads and writes on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

SCHEMA = "kakeya.journal/1"


def compose_entry(
    record: Mapping[str, Any],
    *,
    hypothesis: str,
    modes: Mapping[str, float],
    previous: str | None,
) -> dict[str, Any]:
    """An entry about a record, with nothing in it that the record or the author did not say."""
    return {
        "schema": SCHEMA,
        "previous": previous,
        "context": {
            "job": record["id"],
            "preset": record["preset"]["name"],
            "code": record["code"]["commit"],
            "requested_at": record["request"]["requested_at"],
            "runner": record["runner"]["name"],
        },
        "hypothesis": hypothesis,
        "observations": {
            "gates": [_observe(gate) for gate in record["gates"]],
            "predictions": [_recall(one) for one in record["predictions"]],
            "gaps": list(record["gaps"]),
            "doubts": list(record["doubts"]),
        },
        "failures": [{"mode": name, "prior": f"{prior:g}"} for name, prior in modes.items()],
        "inferences": [],
        "next_action": None,
    }


def _observe(gate: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "id": gate["id"],
        "verdict": gate["verdict"],
        "observed": gate["observed"],
        "interval": [gate["ci"]["lo"], gate["ci"]["hi"]] if gate["ci"] else None,
        "n": gate["n"],
        "message": gate["message"],
    }


def _recall(prediction: Mapping[str, Any]) -> dict[str, Any]:
    """A registered prediction with what became of it; one that was never judged has no figures."""
    nothing = {"verdict": "missing", "observed": None, "ci": None, "n": None, "message": ""}
    seen = _observe(prediction["gate"] or {"id": prediction["id"], **nothing})
    said = {name: prediction[name] for name in ("text", "credence", "outcome")}
    return {**seen, **said}


def write_markdown(entry: Mapping[str, Any]) -> str:
    """The page: what the record says, then what the reader has to say."""
    about = entry["context"]
    lines = [
        f"# {about['preset']}, job {about['job']}",
        "",
        f"Code `{about['code']}`, runner {about['runner']}, asked for at {about['requested_at']}.",
        f"Entry before: {entry['previous'] or 'none'}.",
        "",
        "## Hypothesis",
        "",
        entry["hypothesis"],
        "",
        "## Observations",
        "",
        "| gate | verdict | observed | interval | n | why |",
        "|---|---|---|---|---|---|",
        *[_row(gate) for gate in entry["observations"]["gates"]],
    ]
    predictions = entry["observations"]["predictions"]
    if predictions:
        lines += ["", "| prediction | outcome | observed | interval | n | why |"]
        lines += ["|---|---|---|---|---|---|", *[_row(one, "outcome") for one in predictions]]
    for name in ("gaps", "doubts"):
        found = entry["observations"][name]
        lines += ["", f"{name.capitalize()}: {len(found)}.", *[f"- {_say(one)}" for one in found]]
    lines += ["", "## Failure modes considered", "", "| mode | prior |", "|---|---|"]
    lines += [f"| {_cell(one['mode'])} | {one['prior']} |" for one in entry["failures"]]
    lines += ["", "## Inferences", "", "*(yours: each with a credence)*", ""]
    lines += ["## Next action", "", "*(open)*", ""]
    return "\n".join(lines)


def _row(gate: Mapping[str, Any], word: str = "verdict") -> str:
    interval = " to ".join(map(str, gate["interval"])) if gate["interval"] else ""
    cells = [gate["id"], gate[word], gate["observed"], interval, gate["n"], gate["message"]]
    return f"| {' | '.join(_cell('' if cell is None else str(cell)) for cell in cells)} |"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _say(item: object) -> str:
    if isinstance(item, Mapping):
        return _cell(", ".join(f"{name}: {value}" for name, value in item.items()))
    return _cell(str(item))
