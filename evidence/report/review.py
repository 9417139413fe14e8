"""What a check of promoted records found, as Markdown: one comment, one step summary."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from bridge.errors import ExitCode
from evidence.promoted import Checked, worst
from evidence.report.markdown import MARKER, MAX_CHARACTERS, draw_markdown, escape

MAX_SUMMARY_BYTES = 1024 * 1024
MAX_LISTED = 200
MAX_PROBLEMS = 20
_TITLES = {
    ExitCode.DONE: "PASS",
    ExitCode.INTERNAL: "ERROR",
    ExitCode.USAGE: "MALFORMED",
    ExitCode.REFUSED: "INTEGRITY BROKEN",
    ExitCode.JOB_FAILED: "JOB FAILED",
    ExitCode.GATE_FAILED: "FAIL",
    ExitCode.INCONCLUSIVE: "INCONCLUSIVE OR MISSING",
}


def title(found: Sequence[Checked]) -> str:
    """`FAIL — 2 records: 1 pass, 1 fail`."""
    if not found:
        return "No evidence record was added or changed"
    words = [item.word for item in found]
    counts = [f"{words.count(word)} {word}" for word in dict.fromkeys(words)]
    noun = "record" if len(found) == 1 else "records"
    head = _TITLES[worst([item.code for item in found])]
    return f"{head} — {len(found)} {noun}: {', '.join(counts)}"


def draw_comment(found: Sequence[Checked]) -> str:
    """One comment, at most 65,536 characters; what has no room is counted."""
    return _fit(found, MAX_CHARACTERS, count=len)


def draw_summary(found: Sequence[Checked]) -> str:
    """One step summary, at most 1 MiB."""
    return _fit(found, MAX_SUMMARY_BYTES, count=lambda text: len(text.encode()))


def _fit(found: Sequence[Checked], limit: int, *, count: Callable[[str], int]) -> str:
    tail = "\n\nRecomputed from the samples by the evaluator of the trusted base.\n"
    heads = ("\n".join(_head(found, characters)) for characters in (600, 100, 0))
    text = next(head for head in heads if count(head) <= limit // 2)
    left = 0
    for section in _sections(found):
        longer = f"{text}\n\n{section}"
        if count(longer + tail) > limit - 200:
            left += 1
        else:
            text = longer
    more = f"\n\n{left} reports have no room here: `kakeya_remote evidence report`" if left else ""
    return text + more + tail


def _head(found: Sequence[Checked], characters: int) -> Iterator[str]:
    """The title, and a table with so many characters of each reason."""
    yield MARKER
    yield f"## {title(found)}"
    if found:
        yield ""
        yield "| record | found | why |"
        yield "|---|---|---|"
    # what fails first, so that a long list never hides it
    order = sorted(found, key=lambda item: item.code is ExitCode.DONE)
    for item in order[:MAX_LISTED]:
        why = escape("; ".join([*item.problems[:3], *item.notes[:3]])[:characters])
        yield f"| {escape(item.folder[:60])} | {item.word} | {why} |"
    if len(found) > MAX_LISTED:
        yield f"\nand {len(found) - MAX_LISTED} more"


def _sections(found: Sequence[Checked]) -> Iterator[str]:
    for item in found:
        lines = [f"- {escape(problem)}" for problem in item.problems[:MAX_PROBLEMS]]
        if len(item.problems) > MAX_PROBLEMS:
            lines.append(f"- and {len(item.problems) - MAX_PROBLEMS} more")
        if item.record is not None:
            lines.append(draw_markdown(item.record).removeprefix(f"{MARKER}\n"))
        if lines:
            inner = "\n".join(lines)
            head = f"<details><summary>{item.word}: {escape(item.folder[:60])}</summary>"
            yield f"{head}\n\n{inner}\n\n</details>"
