"""Names of refs under the bus's root: built from checked parts, parsed with nothing assumed."""

from __future__ import annotations

import re
from dataclasses import dataclass

from bridge.canonical import is_ulid
from bridge.errors import UsageError

DEFAULT_ROOT = "refs/heads/kakeya"

_ROOT = re.compile(r"refs/(?:heads/)?[A-Za-z0-9][A-Za-z0-9_-]*(?:[./][A-Za-z0-9][A-Za-z0-9_-]*)*\Z")
_NAME = re.compile(r"[a-z0-9]+(?:[-_.][a-z0-9]+)*\Z")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}\Z")
_SHA256 = re.compile(r"[0-9a-f]{64}\Z")
_JOB = re.compile(r"job/([a-z0-9]+(?:[-_.][a-z0-9]+)*)/([0-9])([0-7][0-9A-HJKMNP-TV-Z]{25})\Z")


@dataclass(frozen=True, slots=True)
class JobRef:
    """A job's ref: its routing label, priority (0 first) and id."""

    label: str
    priority: int
    id: str


@dataclass(frozen=True, slots=True)
class Refs:
    """Every ref name of one bus, all below one root.

    Raises:
        UsageError: on construction, if the root is no plain prefix under `refs/`.
    """

    root: str = DEFAULT_ROOT

    def __post_init__(self) -> None:
        if not _ROOT.match(self.root) or ".lock/" in f"{self.root}/":
            raise UsageError(
                f"{self.root!r} is no root for a bus",
                where="root",
                remedy=f"use a prefix such as {DEFAULT_ROOT}",
            )

    def below_root(self, ref: str) -> str:
        """What follows the root in a full name.

        Raises:
            UsageError: the name lies elsewhere.
        """
        rest = ref.removeprefix(f"{self.root}/")
        if rest == ref:
            raise UsageError(f"{ref!r} lies outside the bus's root {self.root}", where="ref")
        return rest

    def job(self, job: JobRef) -> str:
        """`<root>/job/<label>/<priority><id>`."""
        if not is_name(job.label) or not is_ulid(job.id) or not 0 <= job.priority <= 9:
            raise UsageError(f"{job} cannot be the name of a ref", where="job")
        return f"{self.root}/job/{job.label}/{job.priority}{job.id}"

    def parse_job(self, ref: str) -> JobRef | None:
        """The job that `ref` names, or None for a foreign ref."""
        prefix = f"{self.root}/"
        match = _JOB.match(ref[len(prefix) :]) if ref.startswith(prefix) else None
        if match is None or not is_name(match[1]):
            return None
        return JobRef(match[1], int(match[2]), match[3])

    def heartbeat(self, runner: str) -> str:
        """`<root>/hb/<runner>`."""
        if not is_name(runner):
            raise UsageError(f"{runner!r} is no name for a runner", where="name")
        return f"{self.root}/hb/{runner}"

    def wish(self, job_id: str) -> str:
        """`<root>/ctl/<id>`."""
        if not is_ulid(job_id):
            raise UsageError(f"{job_id!r} is no job id", where="id")
        return f"{self.root}/ctl/{job_id}"

    def key(self, sha256_hex: str) -> str:
        """`<root>/key/<sha256>`."""
        return f"{self.root}/key/{sha256_hex}"

    def art(self, sha256_hex: str) -> str:
        """`<root>/art/<sha256>`: an artifact that is too large for a chain, or a checkpoint."""
        if not _SHA256.match(sha256_hex):
            raise UsageError(f"{sha256_hex!r} is no SHA-256 in hex", where="art")
        return f"{self.root}/art/{sha256_hex}"

    def code(self, oid: str) -> str:
        """`<root>/code/<commit>`: a code commit that `--push-code` sent."""
        return f"{self.root}/code/{oid}"

    def campaign(self, campaign_id: str) -> str:
        """`<root>/camp/<id>`."""
        if not is_ulid(campaign_id):
            raise UsageError(f"{campaign_id!r} is no campaign's id", where="id")
        return f"{self.root}/camp/{campaign_id}"

    def archive(self, date: str) -> str:
        """`<root>/archive/<yyyy-mm-dd>`: the chains that were folded on that day."""
        if not _DATE.match(date):
            raise UsageError(f"{date!r} is no date", where="archive")
        return f"{self.root}/archive/{date}"

    def is_archive(self, ref: str) -> bool:
        """Whether `ref` is the archive of a day."""
        prefix = f"{self.root}/archive/"
        return ref.startswith(prefix) and _DATE.match(ref[len(prefix) :]) is not None

    @property
    def ledger(self) -> str:
        """`<root>/ledger`."""
        return f"{self.root}/ledger"


def is_name(text: str) -> bool:
    """Whether `text` can be a label or a runner's name inside a ref."""
    return len(text) <= 64 and _NAME.match(text) is not None and not text.endswith((".lock", "."))
