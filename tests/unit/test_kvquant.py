"""K/V storage: codes that come back, lattices that are lattices, bits that are counted."""

from __future__ import annotations

import itertools

import pytest

pytest.importorskip("transformers")
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from workloads.kvquant import lattices
from workloads.kvquant.codecs import CODECS
from workloads.kvquant.packing import pack, unpack
from workloads.kvquant.storage import StoredAttention
from workloads.shared.decoding import decode_greedy
from workloads.shared.tiny_models import build_tiny


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@given(st.lists(st.integers(1, 12), min_size=1, max_size=40), st.integers(0, 2**31))
@settings(deadline=None, max_examples=50)
def test_packed_codes_come_back(widths, seed):
    generator = torch.Generator().manual_seed(seed)
    codes = torch.stack([torch.randint(0, 2**width, (3,), generator=generator) for width in widths])
    packed = pack(codes.T, widths)
    assert packed.dtype == torch.uint8
    assert packed.shape == (3, -(-sum(widths) // 8))
    assert torch.equal(unpack(packed, widths).long(), codes.T)


def list_near(points, size):
    """Every point of D_n within one step of the rounded coordinates, by brute force."""
    best = torch.full(points.shape[:-1], torch.inf)
    for offset in itertools.product((-1, 0, 1), repeat=size):
        candidate = points.floor() + torch.tensor(offset) + 0.0
        even = candidate.sum(-1).remainder(2) == 0
        distance = (points - candidate).square().sum(-1)
        best = torch.where(even & (distance < best), distance, best)
    return best


def test_the_nearest_point_of_d4_is_nearest():
    points = draw(200, 4) * 3
    found = lattices.find_nearest_d(points)
    assert bool((found.sum(-1).remainder(2) == 0).all())
    distance = (points - found).square().sum(-1)
    candidates = torch.minimum(list_near(points, 4), list_near(points + 1, 4))
    torch.testing.assert_close(distance, torch.minimum(distance, candidates))


def test_a_point_of_e8_lies_in_e8_and_no_further_than_its_covering_radius():
    points = draw(500, 8) * 3
    found = lattices.find_nearest_e8(points)
    doubled = found * 2
    assert bool((doubled == doubled.round()).all())
    parities = doubled.remainder(2)
    assert bool((parities == parities[:, :1]).all())
    assert bool((found.sum(-1).remainder(2) == 0).all())
    assert float((points - found).norm(dim=-1).max()) <= 1.0 + 1e-5  # Conway and Sloane, table 2


def test_lattices_beat_the_cubic_one_at_the_same_density():
    """The normalised second moment of the cell: Z 1/12, D4 0.0766, E8 0.0717."""
    points = draw(4000, 8, seed=3) * 20
    e8 = (points - lattices.find_nearest_e8(points)).square().mean()
    d4_points = points.reshape(-1, 4)
    d4 = (d4_points - lattices.find_nearest_d(d4_points)).square().mean() / 2 ** (2 / 4)
    assert float(e8) == pytest.approx(0.0717, rel=0.03)
    assert float(d4) == pytest.approx(0.0766, rel=0.03)


@pytest.mark.parametrize("arm", sorted(CODECS))
@pytest.mark.parametrize("width", [32, 64, 128, 256])
def test_what_is_stored_comes_back_within_its_bits(arm, width):
    vectors = draw(2, 3, 5, width, seed=width) * torch.logspace(-2, 2, 5)[:, None]
    stored = CODECS[arm].encode(vectors)
    back = CODECS[arm].decode(stored, torch.float32)
    assert back.shape == vectors.shape
    error = ((back - vectors).square().sum(-1) / vectors.square().sum(-1)).mean()
    limit = {"identity": 0, "affine8": 1e-4, "affine4": 0.03}.get(arm, 2e-3)
    assert float(error) <= limit


def test_vectors_of_zeros_and_of_one_value_come_back():
    for arm in CODECS:
        for vectors in (torch.zeros(1, 1, 2, 64), torch.full((1, 1, 2, 64), 3.0)):
            back = CODECS[arm].decode(CODECS[arm].encode(vectors), torch.float32)
            torch.testing.assert_close(back, vectors, rtol=0.02, atol=1e-4)


@pytest.mark.parametrize(
    ("arm", "bits"),
    [("identity", 32), ("affine8", 8.5), ("affine6", 6.5), ("affine4", 4.5), ("d4", 6.0),
     ("e8", 6.25)],
)  # fmt: skip
def test_bits_are_counted_from_what_is_allocated(arm, bits):
    model = build_tiny("gemma4", seed=1, hidden=64, layers=4, period=2).eval()
    attention = StoredAttention(model, CODECS[arm])
    ids = torch.randint(20, 320, (2, 70), generator=torch.Generator().manual_seed(1))
    decode_greedy(model, ids, attention, max_new_tokens=3)
    held = sum(layer.measure_bytes() for layer in attention.stored)
    values = sum(layer.values_seen for layer in attention.stored)
    assert len(attention.stored) == 2
    assert values == 2 * 2 * 2 * 64 * (70 + 2)  # layers, K and V, rows, one head of 64
    assert held * 8 / values == bits


def test_identity_changes_no_token_and_eight_bits_lose_less_than_four():
    model = build_tiny("llama", seed=2, hidden=64, layers=3, kv_heads=2).eval()
    ids = torch.randint(20, 320, (2, 60), generator=torch.Generator().manual_seed(1))
    plain = model.generate(ids, max_new_tokens=6, min_new_tokens=6, do_sample=False)[:, 60:]
    errors = {}
    for arm in CODECS:
        attention = StoredAttention(model, CODECS[arm])
        tokens = decode_greedy(model, ids, attention, max_new_tokens=6).tokens
        if arm == "identity":
            assert torch.equal(tokens, plain)
        errors[arm] = sum(layer.error for layer in attention.stored)
    assert errors["identity"] == 0
    assert 0 < errors["affine8"] < errors["affine6"] < errors["affine4"]
