"""Values, words and names for properties: anything that is allowed, and little of it."""

from __future__ import annotations

from hypothesis import strategies as st

from bridge import canonical

SAFE = canonical.MAX_SAFE_INTEGER
BEYOND = 10**21

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
floats = st.floats(allow_nan=False, allow_infinity=False).filter(
    lambda number: not SAFE < abs(number) < BEYOND
)
scalars = st.none() | st.booleans() | st.integers(-SAFE, SAFE) | floats | texts
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)
lines = st.text(
    st.characters(exclude_categories=["Cs", "Cc", "Cf", "Zl", "Zp", "Cn", "Co"]), max_size=20
)
words = st.from_regex(r"[a-z0-9]{1,8}(?:[-_.][a-z0-9]{1,8}){0,2}", fullmatch=True).filter(
    lambda text: not text.endswith(".lock")
)
ulids = st.builds(
    canonical.make_ulid, st.integers(0, 2**48 - 1), st.binary(min_size=10, max_size=10)
)
digests = st.binary(max_size=4).map(canonical.digest_bytes)
oids = st.from_regex(r"[0-9a-f]{40}", fullmatch=True)
nonces = st.from_regex(r"[0-9a-f]{16,64}", fullmatch=True)
times = st.datetimes().map(lambda when: when.strftime("%Y-%m-%dT%H:%M:%SZ").zfill(20))
