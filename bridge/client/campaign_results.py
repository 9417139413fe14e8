"""The records of a campaign as files: those that its chain holds, each checked by its digest."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from bridge.bus.course import Course
from bridge.bus.requester import RequesterBus
from bridge.canonical import digest_bytes
from bridge.client.results import check_paths, write_below
from bridge.errors import IntegrityError


def write_files(bus: RequesterBus, course: Course, folder: Path) -> tuple[Path, ...]:
    """Write what a campaign holds below `folder`; returns the files.

    Raises:
        IntegrityError: a path leaves the folder, or a file is not what the campaign says.
    """
    check_paths(course.files)
    bus.fetch_files(course.files.values())
    contents = {path: bus.read(oid) for path, oid in sorted(course.files.items())}
    _check_contents(course, contents)
    for path, data in contents.items():
        write_below(folder, path, data)
    return tuple(folder / path for path in contents)


def _check_contents(course: Course, contents: Mapping[str, bytes]) -> None:
    wanted = {
        f"nodes/{node}/evidence.json": found.evidence for node, found in course.decisions.items()
    }
    if course.ended and course.last is not None and course.last.evidence:
        wanted["evidence.json"] = course.last.evidence
    for path, digest in wanted.items():
        if digest_bytes(contents.get(path, b"")) != digest:
            raise IntegrityError(
                f"{path} is not the record that the campaign names",
                where=course.ref,
                remedy="do not trust it; git log of its ref says who pushed it",
            )
