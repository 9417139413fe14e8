"""Names of refs: what is built is taken apart again, and nothing else is."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from bridge.bus.refs import JobRef, Refs
from tests import samples
from tests.strategies import texts, ulids, words


@given(words.filter(lambda text: len(text) <= 64), st.integers(0, 9), ulids)
def test_a_job_is_found_in_the_name_of_its_ref(label: str, priority: int, job_id: str) -> None:
    job = JobRef(label, priority, job_id)
    assert Refs().parse_job(Refs().job(job)) == job


pieces = st.sampled_from(
    ["job", "/", "any", "5", "a.lock", "..", "\n", "@{", "-", samples.make_id()]
)


@given(st.lists(pieces, max_size=7).map("".join) | texts)
def test_a_name_that_is_taken_apart_is_the_name_that_is_built(rest: str) -> None:
    ref = f"refs/heads/kakeya/{rest}"
    job = Refs().parse_job(ref)
    assert job is None or Refs().job(job) == ref
