"""The Python API: everything that the `kakeya_remote` command does as a requester."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from bridge.bus.refs import Refs
from bridge.bus.requester import RequesterBus
from bridge.canonical import is_ulid, make_ulid
from bridge.client import embedded as embedding
from bridge.client import results as downloads
from bridge.client.artifacts import fetch_one, find_source, make_store, resolve_artifacts
from bridge.client.campaigning import Campaigns
from bridge.client.cancelling import Cancelling
from bridge.client.checkout import (
    Checkout,
    find_checkout,
    read_catalog,
    read_enrolled,
    requester_name,
    resolve_code,
)
from bridge.client.code import check_code, push_code
from bridge.client.draft import Frame, compose_draft, draft_request
from bridge.client.embedded import Embedded, EmbeddedRunner
from bridge.client.founding import Founded, found, utc_text
from bridge.client.logs import Chunk, read_logs
from bridge.client.outcomes import JobStatus, Outcome, Submission, status_of
from bridge.client.overview import Overview
from bridge.client.replaying import draft_replay
from bridge.client.results import Results
from bridge.client.retrying import draft_retry
from bridge.client.settings import Settings, load_settings
from bridge.client.signature import sign_by
from bridge.client.submission import Envelope, push_keyed, push_request
from bridge.client.waiting import Silent, Waiting, Watcher
from bridge.clock import Clock
from bridge.errors import UsageError
from bridge.records import ArtifactRef, Prediction, Request, Source
from presets.catalog import Catalog
from presets.definition import Preset

NO_BUS = "0" * 26
"""Stands for the bus's id in a request that is only shown."""


class Client(Overview):
    """A requester on one bus; `Client.open` finds the settings as the command does.

    Args:
        settings: which bus, and how fast it is used.
        checkout: whose presets and code are meant; None outside a checkout.
        clock: time and randomness.
        watcher: told what happens while a call waits.
        embedded: the places of a bus whose runner lives as long as each `wait`.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        checkout: Checkout | None,
        clock: Clock | None = None,
        watcher: Watcher | None = None,
        embedded: Embedded | None = None,
    ) -> None:
        self.settings = settings
        self.checkout = checkout
        self.clock = clock or Clock()
        self.watcher: Watcher = watcher or Silent()
        self.embedded = embedded
        self._bus: RequesterBus | None = None
        self._catalog: tuple[Catalog, str] | None = None

    @classmethod
    def open(
        cls,
        bus: str | None = None,
        *,
        root: str | None = None,
        profile: str | None = None,
        folder: Path | None = None,
        embedded: bool = False,
        clock: Clock | None = None,
        watcher: Watcher | None = None,
    ) -> Client:
        """A client with the settings of flags, `KAKEYA_*` variables, `kakeya.yaml` and user file.

        Args:
            bus: address or path of the bus.
            root: prefix of its refs, `refs/heads/kakeya` by default.
            profile: `local`, `self-hosted` or `github`; chosen by the address by default.
            folder: where to look for the checkout; the current folder by default.
            embedded: make a bus under `.kakeya/`, with a runner for the time of each `wait`.
            clock: time and randomness.
            watcher: told what happens while a call waits.

        Raises:
            UsageError: a setting that cannot be.
        """
        here = (folder or Path.cwd()).absolute()
        place: Embedded | None = None
        checkout = find_checkout(here)
        flags = {"bus": bus, "root": root, "profile": profile}
        if embedded:
            if bus:
                raise UsageError("--bus and --embedded exclude each other", where="settings")
            checkout = embedding.trusted_checkout(here)
            place = embedding.make_embedded(checkout.root)
            flags = {"bus": str(place.bus), "root": Refs().root, "profile": "local"}
        settings = load_settings(
            flags, os.environ, folder=here, checkout=checkout.root if checkout else None
        )
        client = cls(settings, checkout=checkout, clock=clock, watcher=watcher, embedded=place)
        if place is not None:
            client.found()
        return client

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the git processes behind this client."""
        if self._bus is not None:
            self._bus.close()
            self._bus = None
        if self.checkout is not None:
            self.checkout.git.close()

    @property
    def bus(self) -> RequesterBus:
        """The bus itself.

        Raises:
            UsageError: no setting names one.
        """
        if self._bus is None:
            url, profile, cache = self.settings.require()
            pause: Callable[[float], None] = self.clock.pause
            self._bus = RequesterBus(
                url,
                cache,
                refs=self.settings.refs,
                profile=profile,
                fast=self.settings.fast_path,
                pause=pause,
                keyring=read_enrolled(self.checkout, required=self.demands_enrolled),
            )
        return self._bus

    @property
    def demands_enrolled(self) -> bool:
        """Whether steps of runners that are not enrolled count for nothing here.

        An embedded bus has one runner, which the caller starts and trusts.
        """
        return self.settings.require_enrolled and self.embedded is None

    def found(self) -> Founded:
        """Make the remote a bus, or find that it is one."""
        return found(self.bus, self.clock)

    @property
    def campaigns(self) -> Campaigns:
        """The campaigns of the bus."""
        return Campaigns(self)

    # -- asking ----------------------------------------------------------------------------

    def catalog(self) -> tuple[Catalog, str]:
        """The presets and assets a requester may name, and where they were read."""
        if self._catalog is None:
            self._catalog = read_catalog(self.checkout)
        return self._catalog

    def presets(self) -> dict[str, Preset]:
        """The presets by name: those of the checkout's HEAD, else of the installed package."""
        return dict(self.catalog()[0].presets)

    def draft(
        self, draft: Mapping[str, Any], *, texts: Sequence[str] = (), code: str = "HEAD"
    ) -> Request:
        """The request that JSON data stands for; nothing is sent.

        A param of kind artifact may be given as `ID:path`; the request holds its digest.

        Args:
            draft: any fields of a request, of which `preset` alone is needed; or a whole one.
            texts: params as `NAME=VALUE`, laid over those of the draft.
            code: revision of the code commit, where the draft names none.

        Raises:
            ManifestError: every fault at its path.
            UsageError: the code commit cannot be told.
        """
        draft, texts = resolve_artifacts(draft, texts, self.catalog()[0], self._find_source)
        now_s = self.clock.wall_s()
        frame = Frame(
            id=make_ulid(int(now_s * 1000), self.clock.randomness(10)),
            bus=self.bus.identity().id if self.settings.bus else NO_BUS,
            code="" if "code" in draft else resolve_code(self.checkout, code),
            labels=self.settings.labels,
            requested_by=requester_name(self.checkout),
            requested_at=utc_text(now_s),
            nonce=self.clock.nonce(),
        )
        return draft_request(draft, self.catalog()[0], frame, texts=texts)

    def submit(
        self,
        preset: str,
        params: Mapping[str, Any] | None = None,
        *,
        code: str = "HEAD",
        labels: Sequence[str] = (),
        priority: int = 5,
        queue_timeout_s: int | None = None,
        executor: str | None = None,
        predictions: Sequence[Prediction] = (),
        key: str | None = None,
        push_code: bool = False,
        on_push: bool = False,
    ) -> Submission:
        """Ask for one job; returns once it is on the bus.

        Args:
            preset: name of an allowlisted workload.
            params: its params by name; defaults are filled in.
            code: revision whose code runs; uncommitted edits are never part of a job.
            labels: labels a runner must have beside the preset's own.
            priority: 0 (first) to 9 (last).
            queue_timeout_s: how long it may wait unclaimed, None for ever.
            executor: an executor the preset allows, None for its default.
            predictions: what is expected, written down before the run.
            key: idempotency key: the same manifest under it gives the same job.
            push_code: send the code commit to the bus first.
            on_push: see `send`.

        Raises:
            ManifestError: every fault at its path.
            UsageError: no runner could get the code, or the key belongs to another manifest.
            BusError: the bus does not answer or refuses the push.
        """
        draft = compose_draft(
            self.catalog()[0].get(preset),
            dict(params or {}),
            labels=labels,
            predictions=predictions,
            priority=priority,
            queue_timeout_s=queue_timeout_s,
            executor=executor,
        )
        request = self.draft(draft, code=code)
        return self.send(request, key=key, push=push_code, on_push=on_push)

    def send(
        self,
        request: Request,
        *,
        key: str | None = None,
        push: bool = False,
        signing_key: Path | None = None,
        on_push: bool = False,
        sign: bool = True,
    ) -> Submission:
        """Put a request of `draft` on the bus, signed where there is a key.

        Args:
            request: what is asked.
            key: idempotency key.
            push: send the code commit to the bus first.
            signing_key: the SSH key that signs; that of the settings, or git's own, by default.
            sign: whether to sign at all.
            on_push: let its commit stand on the remote's default branch, so that GitHub Actions
                sees the push (docs/actions.md); the setting `on_push` says so for every request.

        Raises as `submit`, and UsageError where a key that was named cannot sign.
        """
        base = None
        named = signing_key or self.settings.signing_key
        signature, note = sign_by(request, named, self.checkout) if sign else (None, "")
        if (on_push or self.settings.on_push) and self.embedded is None:
            base = self.bus.fetch_base()
        envelope = Envelope(signature, base)
        if push:
            push_code(self.bus, self.checkout, request.code)
        elif self.embedded is None:
            check_code(self.bus, self.checkout, request.code)
        job_id, created = request.id, True
        if key is None:
            when_s = int(self.clock.wall_s())
            ref = push_request(self.bus, request, when_s=when_s, envelope=envelope)
        else:
            ref, job_id, created = push_keyed(self.bus, request, key, self.clock, envelope)
        edits = self.checkout.git.changed_files() if self.checkout else ()
        notes = (note,) if note else ()
        return Submission(job_id, ref, self.bus.url, request, created, edits, notes)

    def retry(
        self,
        job_id: str,
        *,
        key: str | None = None,
        signing_key: Path | None = None,
        sign: bool = True,
    ) -> Submission:
        """Ask again for a job that has ended: the same params, code and labels, a new id.

        Args:
            job_id: the job that ended.
            key: idempotency key of the new request.
            signing_key: as for `send`.
            sign: as for `send`.

        Raises:
            UsageError: no such job, or it goes on.
            ManifestError: the preset has changed so that the params do not fit it any more.
        """
        request = self.draft(draft_retry(self.status(job_id)))
        return self.send(request, key=key, signing_key=signing_key, sign=sign)

    def replay(
        self, job_id: str, *, runner: str | None = None, elsewhere: bool = False
    ) -> Submission:
        """Ask for the very same work as an ended job, to hold the two records against each other.

        Args:
            job_id: the job that ended.
            runner: the one runner that may take it.
            elsewhere: any runner but the first one may.

        Raises:
            UsageError: no such job, it goes on, or it left no evidence.
            ManifestError: the preset has changed so that the params do not fit it any more.
        """
        draft = draft_replay(self.status(job_id), runner=runner, elsewhere=elsewhere)
        return self.send(self.draft(draft))

    # -- following -------------------------------------------------------------------------

    def wait(self, job_id: str, timeout_s: float | None = None) -> Outcome:
        """Wait until a job has ended; the outcome says how, and with which exit code.

        Args:
            job_id: the job's id.
            timeout_s: bounds the waiting alone; the job goes on.

        Raises:
            UsageError: no such job.
            BusError: the bus does not answer.
            IntegrityError: the job's ref is gone, or its commits cannot be read.
        """
        ref = self.find(job_id)
        chain_labels = self._labels_of(ref) if self.embedded else ()
        with self._serving(chain_labels) as runner:
            waiting = Waiting(
                self.bus,
                ref,
                by=requester_name(self.checkout),
                clock=self.clock,
                watcher=self.watcher,
                check=runner.check if runner else lambda: None,
            )
            self.watcher.begin()
            try:
                return waiting.run(timeout_s)
            except KeyboardInterrupt:
                if runner is not None:  # the embedded runner ends with this call, and its job too
                    self.cancel(job_id, "interrupted")
                raise
            finally:
                self.watcher.end()

    def _serving(self, labels: Sequence[str]) -> AbstractContextManager[EmbeddedRunner | None]:
        if self.embedded is None:
            return nullcontext()
        return embedding.serve(self.embedded, labels, self.clock)

    def _labels_of(self, ref: str) -> tuple[str, ...]:
        request = self.bus.load(ref).request
        return request.labels if request else ()

    def find(self, job_id: str) -> str:
        """The ref of a job.

        Raises:
            UsageError: no job on this bus has that id.
        """
        name = job_id.strip().upper()
        ref = self.bus.find(name) if is_ulid(name) else None
        if ref is None:
            raise UsageError(
                f"no job {job_id!r} on this bus" if is_ulid(name) else f"{job_id!r} is no job id",
                where=self.bus.url,
                remedy="kakeya_remote list shows the jobs; an id has 26 characters",
            )
        return ref

    def status(self, job_id: str) -> JobStatus:
        """Where a job stands; raises as `wait`."""
        return status_of(self.bus.load(self.find(job_id)))

    def evidence(self, job_id: str) -> Mapping[str, Any] | None:
        """The evidence record of an ended job as JSON data, None where it has none."""
        return downloads.read_evidence(self.bus, self.bus.load(self.find(job_id)))

    def logs(
        self, job_id: str, *, attempt: int | None = None, follow: bool = False
    ) -> Iterator[Chunk]:
        """A job's output in chunks, oldest first; with `follow`, until it has ended.

        While it is followed, the watcher is told where the job stands, and how far it is.
        """
        ref = self.find(job_id)
        return read_logs(
            self.bus, ref, attempt=attempt, follow=follow, clock=self.clock, watcher=self.watcher
        )

    def results(self, job_id: str, folder: Path) -> Results:
        """Write the files of an ended job below `folder`.

        Raises:
            UsageError: no such job, or it goes on.
            IntegrityError: a path leaves the folder, or a file is not what the result says.
        """
        store = make_store(self.bus, self.watcher.note)
        return downloads.download(self.bus, self.find(job_id), folder, store)

    def artifact(self, job_id: str, path: str, target: Path) -> ArtifactRef:
        """Write one artifact of an ended job to the file `target`, checked by its digest.

        Raises:
            UsageError: no such job or artifact, or the job goes on.
            IntegrityError: what lies on the bus is not what the result says, or has expired.
        """
        store = make_store(self.bus, self.watcher.note)
        return fetch_one(self.bus, store, self.find(job_id), path, target)

    def _find_source(self, job_id: str, path: str) -> Source:
        return find_source(self.bus, self.find(job_id), path)

    def cancel(self, job_id: str, reason: str = "") -> JobStatus:
        """End a job; returns its terminal status.

        Raises:
            UsageError: no such job, or it has ended otherwise.
        """
        cancelling = Cancelling(
            self.bus,
            self.find(job_id),
            by=requester_name(self.checkout),
            clock=self.clock,
            watcher=self.watcher,
        )
        self.watcher.begin()
        try:
            return cancelling.run(reason)
        finally:
            self.watcher.end()
