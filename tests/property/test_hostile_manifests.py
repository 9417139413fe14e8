"""Every hostile manifest is refused at its path, in words that a record can hold."""

from __future__ import annotations

import time

import pytest
from hypothesis import HealthCheck, given, settings

from bridge import records, wire
from bridge.errors import ExitCode, ManifestError
from presets.admission import check_request
from presets.catalog import load_folder
from tests.hostile import CORPUS, PRESETS, HostileManifest, make_valid, refusal, to_bytes
from tests.mutations import mutations

NOOP = load_folder(PRESETS)["noop"]


def reject(hostile: HostileManifest) -> ManifestError:
    """What the client raises, having asked the leaf and then the preset."""
    try:
        problems = check_request(wire.parse_request(hostile.data), NOOP)
    except ManifestError as error:
        return error
    assert problems, f"{hostile.name}: let through: {hostile.data[:200]!r}"
    return ManifestError("does not fit its preset", where="request", problems=problems)


def assert_recordable(error: ManifestError) -> None:
    """A runner can write the refusal into a `rejected` record, whatever the stranger wrote."""
    result = records.Result(
        state="rejected",
        request=None,
        request_commit="0" * 40,
        attempt=0,
        by="runner",
        nonce="0" * 32,
        message=error.message,
        problems=error.problems,
    )
    assert wire.parse("result", wire.to_bytes(result)) == result


def test_the_manifest_that_the_corpus_starts_from_is_valid() -> None:
    assert refusal(to_bytes(make_valid()), NOOP) == ""


def test_the_written_corpus_is_large_and_its_ids_differ() -> None:
    assert len(CORPUS) >= 40
    assert len({hostile.id for hostile in CORPUS}) == len(CORPUS)
    assert len({hostile.name for hostile in CORPUS}) == len(CORPUS)


@pytest.mark.parametrize("hostile", CORPUS, ids=lambda hostile: hostile.name)
def test_each_of_the_written_corpus_is_refused_at_its_path(hostile: HostileManifest) -> None:
    started_s = time.monotonic()
    error = reject(hostile)
    assert time.monotonic() - started_s < 5  # 19 s where uniqueItems compares pair by pair
    assert hostile.path in str(error)
    assert error.exit_code is ExitCode.USAGE
    assert_recordable(error)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(mutations())
def test_each_mutation_of_a_valid_manifest_is_refused_at_its_path(
    hostile: HostileManifest,
) -> None:
    error = reject(hostile)
    assert hostile.path in str(error)
    assert error.exit_code is ExitCode.USAGE
    assert_recordable(error)
