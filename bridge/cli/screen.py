"""The live view: runners above, jobs below them, and the output of the job that is chosen.

The bus is asked on a thread, one question at a time; the view goes on when it does not answer.
"""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock
from typing import ClassVar

from rich.text import Text
from textual import work
from textual.app import App, ComposeResult
from textual.binding import BindingType
from textual.containers import VerticalScroll
from textual.widgets import DataTable, Footer, Static

from bridge.cli.output import escape_controls, style_of
from bridge.client.api import Client
from bridge.client.fleet import RunnerView, tell_age
from bridge.client.lookout import JobView, Look, Lookout
from bridge.client.why import explain
from bridge.errors import KakeyaError

_FILTERS: dict[str, Callable[[JobView], bool]] = {
    "live and ended": lambda _: True,
    "live": lambda job: not job.status.ended,
    "queued": lambda job: str(job.status.state) == "queued",
    "ended": lambda job: job.status.ended,
}
SHOWN = tuple(_FILTERS)
_BAR = 12
_JOBS = ("state", "preset", "job", "by", "runner", "since", "progress", "left")
_RUNNERS = ("runner", "state", "last beat", "labels", "free", "holds")


class Screen(App[None]):
    """The view of one bus.

    Args:
        client: whose bus; only this view uses it meanwhile.
        every_s: seconds between two looks.
    """

    TITLE = "kakeya_remote"
    ENABLE_COMMAND_PALETTE = False
    CSS = """
    #runners { height: auto; max-height: 9; border-bottom: solid $panel; }
    #jobs { height: 1fr; }
    #panel { height: 12; border-top: solid $panel; padding: 0 1; }
    #panel.whole { height: 1fr; }
    #status { height: 1; padding: 0 1; background: $panel; }
    .hidden { display: none; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        ("q", "quit", "end"),
        ("r", "look", "look now"),
        ("f", "next_filter", "what is shown"),
        ("w", "why", "why it waits"),
        ("l", "output", "its output alone"),
    ]

    def __init__(self, client: Client, *, every_s: float) -> None:
        super().__init__()
        self._client, self._every_s = client, every_s
        self._lookout = Lookout(client.bus, client.clock)
        self._asking = Lock()  # a client serves one thread at a time
        self._look = Look((), ())
        self._filter = SHOWN[0]
        self._fault = ""

    # -- what is drawn ---------------------------------------------------------------------

    def compose(self) -> ComposeResult:
        """The parts, from above."""
        yield Static(id="status", markup=False)
        yield DataTable(id="runners", cursor_type="none")
        yield DataTable(id="jobs", cursor_type="row", zebra_stripes=True)
        with VerticalScroll(id="panel"):
            yield Static(id="output", markup=False)
        yield Footer()

    def on_mount(self) -> None:
        """Begin to look."""
        self._runners.add_columns(*_RUNNERS)
        self._jobs.add_columns(*_JOBS)
        self._jobs.focus()
        self._say("looking")
        self.set_interval(self._every_s, self.action_look)
        self.action_look()

    @property
    def _jobs(self) -> DataTable[Text]:
        return self.query_one("#jobs", DataTable)

    @property
    def _runners(self) -> DataTable[Text]:
        return self.query_one("#runners", DataTable)

    @property
    def chosen(self) -> JobView | None:
        """The job under the cursor."""
        rows = self._shown()
        at = self._jobs.cursor_row
        return rows[at] if 0 <= at < len(rows) else None

    def _shown(self) -> list[JobView]:
        wanted = _FILTERS[self._filter]
        return [job for job in self._look.jobs if wanted(job)]

    def _draw(self) -> None:
        kept = self.chosen.status.id if self.chosen else None
        rows = self._shown()
        self._jobs.clear()
        for job in rows:
            self._jobs.add_row(*_job_cells(job), key=job.status.id)
        at = next((index for index, job in enumerate(rows) if job.status.id == kept), 0)
        self._jobs.move_cursor(row=at)
        self._runners.clear()
        for runner in self._look.fleet:
            self._runners.add_row(*_runner_cells(runner), key=runner.name)
        self._say(self._sum_up())

    def _sum_up(self) -> str:
        live = [job for job in self._look.jobs if not job.status.ended]
        queued = sum(str(job.status.state) == "queued" for job in live)
        alive = sum(runner.state == "alive" for runner in self._look.fleet)
        words = f"{queued} queued, {len(live) - queued} running, {alive} runners alive"
        words += f"; shown: {self._filter}"
        words += f"; {self._look.left_out} older jobs left out" if self._look.left_out else ""
        return f"{words}; {self._fault}" if self._fault else words

    def _say(self, words: str) -> None:
        self.query_one("#status", Static).update(Text(escape_controls(words), "bold"))

    def _tell(self, job_id: str, words: str) -> None:
        """Show words below the jobs, if that job is still the one that is chosen."""
        if self.chosen is not None and self.chosen.status.id == job_id:
            self.query_one("#output", Static).update(Text(escape_controls(words)))
            self.query_one("#panel", VerticalScroll).scroll_end(animate=False)

    # -- asking the bus, on threads --------------------------------------------------------

    @work(thread=True, exclusive=True, group="look")
    def _take_look(self) -> None:
        with self._asking:
            try:
                found, fault = self._lookout.look(), ""
            except KakeyaError as error:
                found, fault = self._look, f"the bus does not answer: {error.message}"
        self.call_from_thread(self._show, found, fault)

    def _show(self, look: Look, fault: str) -> None:
        self._look, self._fault = look, fault
        self._draw()
        self._follow()

    @work(thread=True, exclusive=True, group="tail")
    def _take_tail(self, job_id: str) -> None:
        with self._asking:
            try:
                words = self._lookout.tail(job_id)
            except KakeyaError as error:
                words = str(error)
        self.call_from_thread(self._tell, job_id, words or "(no output yet)")

    def _follow(self) -> None:
        if self.chosen is not None:
            self._take_tail(self.chosen.status.id)

    # -- keys ------------------------------------------------------------------------------

    def on_data_table_row_highlighted(self, _: DataTable.RowHighlighted) -> None:
        """Another job is chosen."""
        self._follow()

    def action_look(self) -> None:
        """Look at the bus now."""
        self._take_look()

    def action_next_filter(self) -> None:
        """Show the next kind of jobs."""
        self._filter = SHOWN[(SHOWN.index(self._filter) + 1) % len(SHOWN)]
        self._draw()
        self._follow()

    def action_output(self) -> None:
        """Give the whole height to the output, or take it back."""
        for name in ("#runners", "#jobs"):
            self.query_one(name).toggle_class("hidden")
        self.query_one("#panel").toggle_class("whole")

    def action_why(self) -> None:
        """Say what each runner has to do with the chosen job, from what was seen last."""
        job = self.chosen
        if job is None:
            return
        found = explain(job.status, self._look.fleet)
        lines = [f"{one.runner}: {one.reason}, {one.detail}" for one in found.reasons]
        self._tell(job.status.id, "\n".join([found.message, *lines]))


def _job_cells(job: JobView) -> list[Text]:
    status = job.status
    word = status.verdict or (status.state.value if status.state else "unreadable")
    left = ""
    if job.left_s is not None:
        left = tell_age(job.left_s) if job.told else f"about {tell_age(job.left_s)}"
    return [
        Text(word, style_of(word)),
        _text(status.request.preset.name if status.request else "(malformed)"),
        _text(status.id),
        _text(status.request.requested_by if status.request else "")[:20],
        _text(status.runner or ""),
        _text("" if job.since_s is None else tell_age(job.since_s)),
        _bar(job),
        _text(left),
    ]


def _bar(job: JobView) -> Text:
    if job.share is None:
        return Text("")
    full = round(job.share * _BAR)
    progress = job.status.progress
    steps = f" {progress.step}" if progress else ""
    steps += f"/{progress.total}" if progress and progress.total else ""
    return Text("━" * full, "cyan") + Text("━" * (_BAR - full), "dim") + Text(steps)


def _runner_cells(runner: RunnerView) -> list[Text]:
    colours = {"alive": "green", "silent": "red", "draining": "yellow"}
    state = Text(runner.state, colours.get(runner.state, "red"))
    age = _text(f"{tell_age(runner.age_s)} ago")
    if runner.beat is None:
        return [_text(runner.name), state, age, Text(""), Text(""), Text("")]
    facts = runner.beat.facts
    free = f"{facts.free.cpus}/{facts.resources.cpus} CPUs"
    free += f", {facts.free.gpus}/{facts.resources.gpus} GPUs" if facts.resources.gpus else ""
    holds = ", ".join(f"…{held.id[-6:]}" for held in runner.beat.claims) or "nothing"
    labels = _text(", ".join(facts.labels))[:30]
    return [_text(runner.name), state, age, labels, _text(free), _text(holds)]


def _text(words: str) -> Text:
    return Text(escape_controls(words))
