"""bridge.yml and ci.yml, run by `act`, on good and bad requests (issue 4, shows 3 and 4).

`act` knows no `concurrency.queue`: that line is all by which the copy that it runs differs.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from bridge import wire
from bridge.bus.chain import Chain
from bridge.bus.commits import compose_request
from bridge.bus.refs import JobRef
from bridge.bus.remote import Outcome, Update
from bridge.bus.requester import RequesterBus
from bridge.records import PresetRef, Request
from presets.binding import bind
from presets.catalog import load_catalog
from tests import samples
from tests.actors import WHEN_S, open_bus
from tests.lab import REPO, commit_all, git_in, make_checkout
from tests.rawgit import RawGit
from tests.servers.transport import Transport
from tests.workflows import Act, Ran

pytestmark = [
    pytest.mark.real("act", "git", "git-lfs"),
    pytest.mark.xdist_group("act"),
    pytest.mark.timeout(900),  # each run installs the program, as on GitHub
]

QUEUE = "  queue: max # a third request waits, and does not cancel the second\n"
NAME = "act-hub/bridge"


@dataclass
class World:
    """A trusted repository that is its own bus, as on GitHub, and act to run its workflows.

    Attributes:
        origin: a checkout of the trusted branch.
        raw: the repository on the server.
        bus: the requester's view of it.
        marker: a file that hijacked code would write.
    """

    origin: Path
    raw: RawGit
    server: str
    bus: RequesterBus
    act: Act
    marker: Path
    made: list[str] = field(default_factory=list)

    def request(self, params: Mapping[str, Any] | None = None) -> Request:
        """A request for `noop` as the trusted branch has it."""
        found = load_catalog(self.origin / "presets").get("noop")
        return samples.make_request(
            self.bus.identity().id,
            preset=PresetRef(found.name, found.digest),
            params=bind(found, params or {}),
            code=git_in(self.origin, "rev-parse", "HEAD"),
            label=found.labels[0],
            labels=found.labels,
            resources=found.resources,
            executor="actions",
        )

    def ref(self, request: Request) -> str:
        return self.bus.refs.job(JobRef(request.label, request.priority, request.id))

    def push(self, request: Request) -> str:
        """As `run --on-push` does it; returns the ref."""
        commit = compose_request(request, when_s=WHEN_S, base=self.bus.fetch_base())
        assert self.bus.swap([Update(self.ref(request), None, commit)]) == (Outcome.WON,)
        return self.ref(request)

    def run(self, branch: str, **changes: Any) -> Ran:
        """The bridge, as a push to `branch` starts it."""
        run = {"event": "push", "head_branch": branch} | {"head_repository": {"full_name": NAME}}
        payload = {"workflow_run": run | changes, "repository": {"full_name": NAME}}
        env = {"GITHUB_SERVER_URL": self.server, "GITHUB_REPOSITORY": NAME}
        return self.act.run("bridge.yml", "workflow_run", payload, env, "a-token", [QUEUE])

    def chain(self, ref: str) -> Chain:
        return self.bus.load(ref)


@pytest.fixture(scope="module")
def world(serve: Callable[[str], Transport], tmp_path_factory: pytest.TempPathFactory) -> World:
    folder = tmp_path_factory.mktemp("bridge")
    origin = make_checkout(folder / "origin")
    git_in(origin, "branch", "--move", "main")
    git_in(origin, "lfs", "install", "--local")
    git_in(origin, "lfs", "track", "*.weights")
    (origin / "small.weights").write_bytes(b"large, they say")
    commit_all(origin, "a file by LFS")
    server = serve("http")
    git_in(server.base, "clone", "--quiet", "--bare", str(origin), NAME)
    raw = RawGit(server.base / NAME)
    raw.run("config", "http.receivepack", "true")
    raw.run("config", "uploadpack.allowFilter", "true")
    url = f"{server.address}/{NAME}"
    bus = open_bus(url, folder / "requester")
    act = Act(tmp_path_factory.mktemp("act"), origin)
    return World(origin, raw, server.address, bus, act, folder / "hijacked")


def test_a_good_request_is_run_and_its_result_is_on_its_branch(world: World) -> None:
    ref = world.push(world.request())
    ran = world.run(ref.removeprefix("refs/heads/"))
    assert ran.succeeded, ran.output
    chain = world.chain(ref)
    assert (chain.state, chain.fault) == ("done", None)
    assert chain.result is not None
    assert chain.result.verdict == "pass"
    assert chain.claim is not None
    assert chain.claim.trusted == git_in(world.origin, "rev-parse", "HEAD")
    assert chain.claim.executor == "actions"
    assert f"::group::job {chain.job.id}, attempt 1" in ran.output
    assert "❓  ::notice title=kakeya::job" in ran.output
    assert "Summary - ###" in ran.output
    assert "## " in ran.output.split("Summary - ", 1)[1]  # the report behind the executor's part
    uploaded = world.act.folder / "artifacts" / "kakeya-results"
    assert wire.parse("result", (uploaded / "result.json").read_bytes()) == chain.result
    assert json.loads((uploaded / "evidence.json").read_bytes())["schema"] == "kakeya.evidence/1"
    assert "a-token" not in ran.output
    # nobody sees the pushes of a runner: they say so, and the branch still has its workflows
    for commit in world.raw.run("rev-list", f"main..{ref}").split()[:-1]:
        assert "[skip ci]" in world.raw.run("log", "-1", "--format=%B", commit)
    assert world.raw.run("ls-tree", "--name-only", ref, ".github") == ".github"


def test_a_job_that_fails_fails_the_run_and_keeps_its_exit_code(world: World) -> None:
    ref = world.push(world.request({"exit_code": 7}))
    ran = world.run(ref.removeprefix("refs/heads/"))
    assert not ran.succeeded
    assert "exit status 5" in ran.output, ran.output
    assert "❗  ::error title=kakeya::job" in ran.output
    chain = world.chain(ref)
    assert chain.state == "failed"
    assert chain.result is not None
    assert chain.result.exit is not None
    assert chain.result.exit.code == 7


def hijack(world: World) -> str:
    """A commit on the trusted branch whose every deciding file writes a marker; its tree."""
    copy = world.origin.parent / "mallory"
    if not copy.is_dir():
        git_in(world.origin.parent, "clone", "--quiet", str(world.origin), str(copy))
        planted = f"from pathlib import Path; Path({str(world.marker)!r}).touch()\n"
        for name in ("bridge/cli/main.py", "evidence/__init__.py", "sitecustomize.py"):
            (copy / name).write_text(planted)
        (copy / "workloads" / "noop" / "__init__.py").write_text(planted)
        step = f"touch {world.marker}"
        for name in ("bridge.yml", "request.yml"):
            (copy / ".github" / "workflows" / name).write_text(
                "on: push\npermissions: write-all\njobs:\n  mine:\n    runs-on: ubuntu-24.04\n"
                f"    steps: [{{run: {step}}}]\n"
            )
        preset = copy / "presets" / "noop.yaml"
        preset.write_text(preset.read_text().replace("title:", "title: mine,", 1))
        commit_all(copy, "an edit of everything that decides")
        git_in(copy, "push", "--quiet", str(world.raw.path), "HEAD:refs/heads/mallory")
    return git_in(copy, "rev-parse", "HEAD")


def test_a_request_whose_commit_edits_a_workflow_is_rejected_by_name(world: World) -> None:
    edited = hijack(world)
    request = world.request()
    rows = [row.split(maxsplit=3) for row in world.raw.run("ls-tree", edited).splitlines()]
    entries = {row[3]: (row[0].lstrip("0"), row[2]) for row in rows}
    entries["request.json"] = (
        "100644",
        world.raw.store("blob", wire.to_bytes(request)),
    )
    main = world.raw.tip("main")
    commit = world.raw.commit(
        world.raw.tree(dict(sorted(entries.items()))),
        message="kakeya: request noop, by mallory",
        parents=[main],
    )
    world.raw.point(world.ref(request), commit)
    ran = world.run(world.ref(request).removeprefix("refs/heads/"))
    assert not ran.succeeded
    chain = world.chain(world.ref(request))
    assert chain.state == "rejected", ran.output
    assert chain.result is not None
    (problem,) = chain.result.problems
    assert "'.github'" in problem
    assert not world.marker.exists()


def test_a_request_on_top_of_edited_workflows_runs_by_those_of_main(world: World) -> None:
    edited = hijack(world)
    request = world.request()
    tree = world.raw.run("rev-parse", f"{edited}^{{tree}}")
    rows = [row.split(maxsplit=3) for row in world.raw.run("ls-tree", tree).splitlines()]
    entries = {row[3]: (row[0].lstrip("0"), row[2]) for row in rows}
    entries["request.json"] = ("100644", world.raw.store("blob", wire.to_bytes(request)))
    commit = world.raw.commit(
        world.raw.tree(dict(sorted(entries.items()))),
        message="kakeya: request noop, by mallory",
        parents=[edited],
    )
    world.raw.point(world.ref(request), commit)
    ran = world.run(world.ref(request).removeprefix("refs/heads/"))
    assert ran.succeeded, ran.output
    chain = world.chain(world.ref(request))
    assert chain.state == "done"
    assert chain.claim is not None
    assert chain.claim.trusted == world.raw.tip("main")
    assert not world.marker.exists()  # no part of ours ran anything of that branch
    # GitHub's part: a workflow file of the pushed branch itself does run, wherever it may
    text = world.raw.run("cat-file", "blob", f"{edited}:.github/workflows/request.yml")
    assert world.act.run_text("request.yml", text, "push", {}, {}).succeeded
    assert world.marker.exists()
    world.marker.unlink()


@pytest.mark.parametrize(
    "branch",
    ["kakeya/job/any/5$(touch pwned)", 'kakeya/job/any/5";touch pwned;"', "kakeya/job/any/5--bus"],
)
def test_a_branch_that_names_no_job_is_refused_and_reaches_no_shell(
    world: World, branch: str
) -> None:
    before = world.raw.run("for-each-ref")
    ran = world.run(branch)
    assert not ran.succeeded
    assert "is no job id" in ran.output, ran.output
    assert not list(world.act.folder.rglob("pwned"))
    assert world.raw.run("for-each-ref") == before


@pytest.mark.parametrize(
    "changes",
    [
        {"event": "pull_request"},
        {"head_repository": {"full_name": "somebody/else"}},
        {"head_branch": "main"},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_what_is_no_request_starts_no_step(world: World, changes: dict[str, Any]) -> None:
    ran = world.run("kakeya/job/any/5" + samples.make_id(), **changes)
    assert "Run the request" not in ran.output
    assert "git-lfs" not in ran.output


def test_a_pointer_that_was_left_stops_the_run_by_name(world: World) -> None:
    listed = git_in(world.origin, "lfs", "ls-files", "--long").split()[0]
    stored = world.origin / ".git" / "lfs" / "objects" / listed[:2] / listed[2:4] / listed
    kept = stored.read_bytes()
    stored.unlink()
    ref = world.push(world.request())
    ran = world.run(ref.removeprefix("refs/heads/"))
    stored.write_bytes(kept)
    assert not ran.succeeded
    assert "small.weights" in ran.output, ran.output
    assert "still LFS pointers" in ran.output
    assert world.chain(ref).state == "queued"  # for the next runner, or this one when it is mended


def test_a_pushed_request_wakes_the_bridge_and_takes_no_machine(world: World) -> None:
    text = (REPO / ".github" / "workflows" / "request.yml").read_text()
    ran = world.act.run_text("request.yml", text, "push", {"ref": "refs/heads/kakeya/job/x"}, {})
    assert ran.succeeded
    assert "Run Main" not in ran.output
    loaded = load("request.yml")
    assert loaded["on"] == {"push": {"branches": ["kakeya/job/**"]}}
    assert loaded["permissions"] == {}
    assert load("bridge.yml")["on"]["workflow_run"]["workflows"] == [loaded["name"]]


def load(name: str) -> dict[str, Any]:
    """A workflow file as data; YAML 1.1 reads its key `on` as true."""
    data = yaml.safe_load((REPO / ".github" / "workflows" / name).read_text())
    return {("on" if key is True else key): value for key, value in data.items()}
