"""Asking again for a job that has ended: a new request that names the old one."""

from __future__ import annotations

from typing import Any

from bridge.client.draft import SEALED
from bridge.client.outcomes import JobStatus
from bridge.errors import UsageError
from bridge.wire import to_json

_NOT_AGAIN = frozenset({"campaign", "reuse", "replay_of"})
"""Fields that belong to the first request alone: a retry runs, and is no cell of a campaign."""


def draft_retry(status: JobStatus) -> dict[str, Any]:
    """The draft of a request for the same thing as an ended job.

    Everything stays but what is fresh in each request, and the preset's digest: the preset is the
    one that the requester's checkout has now, since no runner takes another.

    Raises:
        UsageError: the job goes on, or its request cannot be read.
    """
    if not status.ended:
        raise UsageError(
            f"the job has not ended ({status.state or 'unreadable'})",
            where=status.id,
            remedy=f"kakeya_remote wait {status.id}, or kakeya_remote cancel {status.id}",
        )
    if status.request is None:
        raise UsageError(
            "its request was malformed",
            where=status.id,
            problems=status.problems,
            remedy="write a new one: kakeya_remote run PRESET",
        )
    told = to_json(status.request)
    told = {key: told[key] for key in told.keys() - _NOT_AGAIN}
    draft = {key: told[key] for key in told.keys() - SEALED}
    return {**draft, "preset": status.request.preset.name, "retry_of": status.id}
