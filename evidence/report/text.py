"""Words and numbers as reports print them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from evidence.gates.verdicts import Verdict

ORDER = [
    Verdict.ERROR.value,
    Verdict.FAIL.value,
    Verdict.MISSING.value,
    Verdict.INCONCLUSIVE.value,
    Verdict.PASS.value,
]


def headline(record: Mapping[str, Any]) -> str:
    """`FAIL — 17 pass · 1 fail · 2 inconclusive`: the verdict and how many gates came to each."""
    result = record["result"]
    words = _counts(result["counts"]) or ["no gate that blocks"]
    advisory = _counts(result["advisory"])
    aside = f" (advisory: {', '.join(advisory)})" if advisory else ""
    return f"{result['gates'].upper()} — {' · '.join(words)}{aside}"


def _counts(counts: Mapping[str, int]) -> list[str]:
    return [f"{counts[name]} {name}" for name in reversed(ORDER) if counts.get(name)]


def subline(record: Mapping[str, Any]) -> str:
    """Integrity, preset, runner and commit in one line; `verify` alone derives the assurance."""
    sound = "integrity ✔" if record["result"]["integrity"] == "ok" else "integrity doubted ✘"
    words = [sound, preset_name(record)]
    runner = record["runner"].get("name") or record["runner"].get("id")
    commit = record["code"].get("commit")
    hardware = record["hardware"].get("cpu") or record["hardware"].get("os")
    words += [f"runner {runner}" if runner else "", str(hardware or "")]
    words.append(f"code {str(commit)[:12]}" if commit else "")
    return " · ".join(word for word in words if word)


def preset_name(record: Mapping[str, Any]) -> str:
    """The preset's name, or the record's id."""
    return str(record["preset"].get("name") or record.get("id") or "record")


def sort_gates(gates: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Gates with what a reader must see first: what blocks and did not pass."""
    return sorted(gates, key=lambda row: (ORDER.index(row["verdict"]), not row["blocking"]))


def short(number: str | None, digits: int = 4) -> str:
    """A decimal string shortened for a table; the record keeps every digit."""
    if number is None:
        return "–"
    if number in ("inf", "-inf"):
        return number.replace("inf", "∞")
    value = float(number)
    if 10**digits <= abs(value) < 1e7:  # whole numbers are read more easily than 1.015e+04
        return f"{value:.0f}"
    return f"{value:.{digits}g}"


def interval_text(row: Mapping[str, Any] | None) -> str:
    """`[0.94, 1] 95 % exact, one-sided`, "" where there is none."""
    if not row:
        return ""
    level = f"{float(row['level']) * 100:g} %"
    sides = {"one": ", one-sided", "tost": ", each bound", "two": ""}[row["sided"]]
    return f"[{short(row['lo'], 3)}, {short(row['hi'], 3)}] {level} {row['method']}{sides}"


def flatten(row: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The comparisons inside a gate's row: itself, or its parts."""
    parts = row.get("parts")
    return [leaf for part in parts for leaf in flatten(part)] if parts else [row]


def place(metric: Mapping[str, Any]) -> str:
    """A metric's coordinates."""
    return ", ".join(f"{key}={value}" for key, value in metric["at"].items())


def verify_command(record: Mapping[str, Any]) -> str:
    """The command that checks the record."""
    job = record.get("id")
    folder = f"results/{job}" if job else "FOLDER"
    campaign = record["request"].get("campaign")
    group, node = ("campaign ", campaign.get("node")) if campaign else ("", None)
    fetch = f"kakeya_remote {group}results {job} --out {folder} && " if job else ""
    return f"{fetch}kakeya_remote evidence verify {folder}{f'/nodes/{node}' if node else ''}"
