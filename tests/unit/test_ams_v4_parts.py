"""The parts of the v4 memory: geometry, trees, Kakeya sets, attention, losses, sessions."""

from __future__ import annotations

import random

import pytest
import torch
from torch.nn import functional

from workloads.ams_v4 import losses
from workloads.ams_v4.attention import PREFIX, SLOTS, CrossBundleAttention
from workloads.ams_v4.backbone import Backbone
from workloads.ams_v4.bundles import BASES, FIBERS, NAMES, Bundle
from workloads.ams_v4.config import ARMS, Config
from workloads.ams_v4.geometry import Connection, Metric, great_circle_path, straight_path
from workloads.ams_v4.invariants import holds, measure_invariants
from workloads.ams_v4.kakeya import ALIGNMENT_TOLERANCE, KakeyaRegistry, KakeyaSet
from workloads.ams_v4.language import SyntheticLanguage, draw_session, is_held
from workloads.ams_v4.memory import Memory
from workloads.ams_v4.sessions import Exam, fill_stores, sit_without_memory
from workloads.ams_v4.training import draw_lesson, make_memory
from workloads.shared.directions import CAPACITY, DirectionTree
from workloads.shared.synthetic import KEYS, VALUES
from workloads.shared.tiny_models import build_tiny

pytestmark = pytest.mark.usefixtures("fixed_seed")

WIDTH = 128


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    model = build_tiny("qwen3", seed=0, hidden=WIDTH, layers=2, period=2)
    return Backbone(model, SyntheticLanguage())


def draw_units(count: int, width: int) -> torch.Tensor:
    return functional.normalize(torch.randn(count, width), dim=-1)


# -- geometry ------------------------------------------------------------------------------


def test_a_metric_is_symmetric_and_positive_everywhere() -> None:
    matrices = Metric(8)(3 * torch.randn(50, 8))
    assert torch.allclose(matrices, matrices.mT, atol=1e-6)
    assert bool((torch.linalg.eigvalsh(matrices) > 0).all())


def test_a_connection_is_antisymmetric_linear_and_what_transport_follows() -> None:
    connection = Connection(8, 32)
    place, step, fiber = torch.randn(8), torch.randn(8), torch.randn(32)
    matrix = connection.generator(place, step)
    assert torch.allclose(matrix, -matrix.mT, atol=1e-6)
    assert torch.allclose(connection.generator(place, 2 * step), 2 * matrix, atol=1e-5)
    small = 1e-3 * step
    path = straight_path(place - small / 2, place + small / 2)
    moved = (connection.transport(fiber, path) - fiber) / 1e-3
    assert torch.allclose(moved, matrix @ fiber, atol=1e-2 * float(fiber.norm()))


@pytest.mark.parametrize("name", NAMES)
def test_transport_keeps_a_fibers_norm_and_still_turns_it(name: str) -> None:
    bundle = Bundle(name, WIDTH)
    start, end = draw_units(20, BASES[name]), draw_units(20, BASES[name])
    fibers = torch.randn(20, FIBERS[name])
    carried = bundle.connection.transport(fibers, bundle.path(start, end))
    assert torch.allclose(carried.norm(dim=-1), fibers.norm(dim=-1), rtol=1e-5)
    assert bool(((carried - fibers).norm(dim=-1) > 0).all())
    still = bundle.connection.transport(fibers, bundle.path(start, start))
    assert torch.allclose(still, fibers, atol=1e-2)


def test_a_great_circle_stays_on_the_sphere_and_ends_where_it_should() -> None:
    start, end = draw_units(10, 16), draw_units(10, 16)
    path = great_circle_path(start, end)
    assert torch.allclose(path.norm(dim=-1), torch.ones(path.shape[:-1]), atol=1e-5)
    assert torch.allclose(path[:, 0], start, atol=1e-4)
    assert torch.allclose(path[:, -1], end, atol=1e-4)


# -- trees ---------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(8))
def test_no_leaf_holds_more_than_its_capacity(seed: int) -> None:
    torch.manual_seed(seed)
    tree = DirectionTree()
    for item, direction in enumerate(draw_units(240, 16)):
        tree.insert(item, direction)
    assert len(tree) == 240
    assert 1 <= tree.largest_leaf() <= CAPACITY


def test_a_wide_beam_finds_what_is_nearest_and_a_narrow_one_finds_itself() -> None:
    directions = draw_units(100, 16)
    tree = DirectionTree()
    for item, direction in enumerate(directions):
        tree.insert(item, direction)
    asked = draw_units(1, 16)[0]
    assert tree.retrieve(asked, 5, beam=100) == (directions @ asked).topk(5).indices.tolist()
    for item in (0, 50, 99):
        assert tree.retrieve(directions[item], 1, beam=2) == [item]


def test_what_is_removed_is_found_no_more_and_what_is_moved_is_found_once() -> None:
    tree = DirectionTree()
    directions = draw_units(30, 8)
    for item, direction in enumerate(directions):
        tree.insert(item, direction)
    tree.remove(7)
    tree.insert(3, directions[7])
    assert tree.retrieve(directions[7], 30, beam=30).count(3) == 1
    assert 7 not in tree.retrieve(directions[7], 30, beam=30)
    with pytest.raises(KeyError):
        tree.remove(7)


def test_equal_directions_cannot_be_split_and_are_told_by_the_largest_leaf() -> None:
    tree = DirectionTree()
    for item in range(CAPACITY + 4):
        tree.insert(item, torch.eye(8)[0])
    assert tree.largest_leaf() == CAPACITY + 4


def test_a_direction_that_is_no_unit_is_refused() -> None:
    with pytest.raises(ValueError, match="length 2"):
        DirectionTree().insert(0, 2 * torch.eye(8)[0])


# -- Kakeya sets ---------------------------------------------------------------------------


def test_a_set_is_aligned_with_its_axis_until_the_axis_moves() -> None:
    axis, other = draw_units(2, 16)
    one = KakeyaSet(torch.randn(16, WIDTH))
    assert not one.active
    one.build(torch.randn(20, WIDTH), axis)
    assert one.active
    assert one.alignment_error(axis) <= ALIGNMENT_TOLERANCE
    assert one.alignment_error(other) > ALIGNMENT_TOLERANCE


def test_vectors_of_few_directions_come_back_and_random_ones_do_not() -> None:
    axis = draw_units(1, 16)[0]
    low = torch.randn(40, 4) @ torch.randn(4, WIDTH)
    errors = {}
    for name, vectors in (("low", low), ("high", torch.randn(40, WIDTH))):
        one = KakeyaSet(torch.randn(16, WIDTH))
        one.build(vectors, axis)
        lost = (one.decode(one.encode(vectors)) - vectors).norm(dim=-1)
        errors[name] = float((lost / vectors.norm(dim=-1)).median())
    assert errors["low"] < 0.15 < errors["high"]


def test_a_set_of_too_few_or_too_wide_vectors_is_refused() -> None:
    one = KakeyaSet(torch.randn(16, WIDTH))
    with pytest.raises(ValueError, match="7 entries"):
        one.build(torch.randn(7, WIDTH), draw_units(1, 16)[0])
    with pytest.raises(ValueError, match="wide"):
        one.build(torch.randn(9, WIDTH + 1), draw_units(1, 16)[0])


# -- attention -----------------------------------------------------------------------------


NEAR = {name: torch.zeros(2, 3, 5) for name in NAMES}


def make_fibers(count: int) -> dict[str, torch.Tensor]:
    return {name: torch.randn(2, 3, count, FIBERS[name]) for name in NAMES}


def test_the_prefix_has_its_slots_and_the_loudness_of_a_token() -> None:
    attention = CrossBundleAttention(WIDTH, loudness=2.5)
    places = {name: torch.randn(2, 3, FIBERS[name]) for name in NAMES}
    prefix = attention(torch.randn(2, 3, WIDTH), places, make_fibers(5), NEAR)
    assert prefix.shape == (2, 3, PREFIX, WIDTH)
    assert torch.allclose(prefix.norm(dim=-1), torch.full((2, 3, PREFIX), 2.5), rtol=1e-3)
    with pytest.raises(ValueError, match="no entry"):
        attention(torch.randn(2, 3, WIDTH), places, make_fibers(0), NEAR)


def test_each_bundle_fills_its_own_slots_alone() -> None:
    attention = CrossBundleAttention(WIDTH, loudness=1.0)
    hidden, entries = torch.randn(2, 3, WIDTH), make_fibers(5)
    places = {name: torch.randn(2, 3, FIBERS[name]) for name in NAMES}
    before = attention(hidden, places, entries, NEAR)
    other = {**entries, "time": torch.randn(2, 3, 5, FIBERS["time"])}
    after = attention(hidden, places, other, NEAR)
    assert not torch.allclose(before[:, :, : SLOTS["time"]], after[:, :, : SLOTS["time"]])
    assert torch.equal(before[:, :, SLOTS["time"] :], after[:, :, SLOTS["time"] :])


def test_what_is_not_allowed_does_not_count() -> None:
    attention = CrossBundleAttention(WIDTH, loudness=1.0)
    hidden, entries = torch.randn(2, 3, WIDTH), make_fibers(5)
    places = {name: torch.randn(2, 3, FIBERS[name]) for name in NAMES}
    allowed = torch.tensor([True, True, False, False, False]).expand(2, 3, 5)
    changed = {name: value.clone() for name, value in entries.items()}
    for value in changed.values():
        value[:, :, 2:] = 9.0
    one = attention(hidden, places, entries, NEAR, allowed)
    assert torch.allclose(one, attention(hidden, places, changed, NEAR, allowed), atol=1e-6)
    assert not torch.allclose(one, attention(hidden, places, changed, NEAR), atol=1e-3)


def test_what_is_near_counts_most_and_choosing_leaves_finite_gradients() -> None:
    attention = CrossBundleAttention(WIDTH, loudness=1.0)
    hidden, entries = torch.randn(2, 3, WIDTH), make_fibers(5)
    places = {name: torch.randn(2, 3, FIBERS[name]) for name in NAMES}
    first = {name: torch.eye(5)[0].expand(2, 3, 5) * 50 for name in NAMES}
    alone = torch.tensor([True, False, False, False, False]).expand(2, 3, 5)
    one = attention(hidden, places, entries, first)
    assert torch.allclose(one, attention(hidden, places, entries, NEAR, alone), atol=1e-4)
    attention(hidden, places, entries, NEAR, alone)[..., 0].sum().backward()
    assert all(bool(value.grad.isfinite().all()) for value in attention.parameters())


# -- losses --------------------------------------------------------------------------------


def test_reconstruction_is_never_silently_zero() -> None:
    """Seed 001: a batch of three against a least of eight made this loss 0.0000 for ever."""
    registry = KakeyaRegistry(BASES, dict.fromkeys(("semantic", "content", "descriptor"), WIDTH))
    fields = {name: torch.randn(20, WIDTH) for name in ("semantic", "content", "descriptor")}
    axes = {name: draw_units(1, BASES[name])[0] for name in NAMES}
    registry.build(fields, axes)
    fields["descriptor"].requires_grad_()
    lost = losses.reconstruct(registry, fields)
    lost.backward()  # type: ignore[no-untyped-call]
    assert lost.item() > 0
    assert fields["descriptor"].grad is not None
    assert float(fields["descriptor"].grad.norm()) > 0
    with pytest.raises(ValueError, match="at least 8"):
        losses.reconstruct(registry, {name: value[:3] for name, value in fields.items()})


@pytest.mark.parametrize("arm", ["v46", "v47"])
def test_every_lesson_has_enough_texts_to_reconstruct(arm: str, backbone: Backbone) -> None:
    source = random.Random(0)
    corpus = draw_session(backbone.language, source, 9, held=False).facts
    for _ in range(5):
        sessions, prompts = draw_lesson(
            ARMS[arm], Config(scale="ci"), backbone, source, corpus  # type: ignore[index]
        )  # fmt: skip
        assert min(len(one.facts) for one in sessions) >= 8
        assert all(prompts)


def test_words_that_all_sentences_share_do_not_make_them_alike(backbone: Backbone) -> None:
    """Seed 001: a Jaccard index over raw tokens was one over stop words."""
    rows = [(4, 1, 2, 3, KEYS[0], VALUES[0], 4), (1, 2, 3, KEYS[1], VALUES[1], 4)]
    index = losses.jaccard([*rows, (5, 6, 2, 3, KEYS[0])], backbone.weights)
    assert float(index[0, 1]) == 0
    assert float(index[0, 2]) == 0.5
    assert float(index[0, 0]) == 1


def test_each_alignment_falls_where_it_should() -> None:
    axis = torch.eye(8)[0]
    ordered = torch.linspace(-1, 1, 10)[None, :, None] * axis
    assert float(losses.align_time(ordered, axis)) < 1e-5
    assert float(losses.align_time(ordered.flip(1), axis)) > 1.9
    likeness = torch.tensor([[1.0, 0.5, 0.0], [0.5, 1.0, 0.0], [0.0, 0.0, 1.0]])
    apart = torch.stack([axis, axis, torch.eye(8)[1]])
    crowded = torch.stack([axis, torch.eye(8)[1], axis])
    assert float(losses.align_topics(apart, likeness)) == 0
    assert float(losses.align_topics(crowded, likeness)) > losses.TRIPLET_MARGIN
    assert float(losses.align_context(axis[None], axis)) == 0
    assert float(losses.align_context(-axis[None], axis)) > 1


def test_bundles_that_copy_one_another_and_collapsed_fibers_cost() -> None:
    same = torch.randn(50, 1)
    copies = {name: same.expand(50, FIBERS[name]) for name in NAMES}
    apart = {name: torch.randn(50, FIBERS[name]) for name in NAMES}
    assert float(losses.bind_apart(copies)) > float(losses.bind_apart(apart))
    flat = {name: torch.zeros(50, FIBERS[name]) for name in NAMES}
    assert float(losses.keep_spread(flat)) == pytest.approx(losses.SPREAD_FLOOR)
    assert float(losses.keep_spread(apart)) == 0


# -- sessions ------------------------------------------------------------------------------


def test_what_is_measured_was_never_trained_on() -> None:
    language, source = SyntheticLanguage(), random.Random(1)
    for held in (True, False):
        for fact in draw_session(language, source, 40, held=held).facts:
            (name,) = [token for token in fact.ids if token in KEYS]
            subject = KEYS.index(name) % language.subjects
            assert is_held(subject, VALUES.index(fact.answer[0])) is held


def test_a_question_is_placed_by_its_own_content(backbone: Backbone) -> None:
    """Seed 001: the topic of a question lacked the content tokens that a fact was written with."""
    exam = Exam.draw(backbone, 0, 10, sessions=2, questions=4)
    told = backbone.read_sessions(exam.sessions)
    asked = backbone.read_prompts(exam.questions(), told)
    memory = make_memory(ARMS["fresh"], backbone, 0)
    assert isinstance(memory, Memory)
    places = memory.encode(asked)
    apart = places["topic"].base[:, 0] - places["topic"].base[:, 1]
    assert bool((apart.norm(dim=-1) > 0.1).all())
    (first, second) = exam.questions()[0][0][-1:], exam.questions()[0][1][-1:]
    assert first != second
    units = functional.normalize(backbone.embed.weight[list(first)].float(), dim=-1)
    near = functional.cosine_similarity(asked.content[0, 0][None], units)
    assert float(near) > 0.9


def test_shuffled_sessions_hold_no_right_answer(backbone: Backbone) -> None:
    exam = Exam.draw(backbone, 3, 12, sessions=3, questions=5)
    for before, after in zip(exam.sessions, exam.shuffled(), strict=True):
        for one, other in zip(before.facts, after.facts, strict=True):
            assert one.ids[: one.cut] == other.ids[: other.cut]
            assert other.ids[other.cut] == other.answer[0]
        told = [fact.answer for fact in before.facts]
        assert sorted(told) == sorted(fact.answer for fact in after.facts)


def test_an_exam_is_the_same_for_every_arm_and_pairs_by_unit(backbone: Backbone) -> None:
    one, two = (Exam.draw(backbone, 1, 10, sessions=2, questions=3) for _ in range(2))
    assert one == two
    rows = sit_without_memory(one, backbone)
    hits = [row for row in rows if row.measure == "hit"]
    units = {arm: {row.unit for row in hits if row.arm == arm} for arm in ("rag", "full_history")}
    assert units["rag"] == units["full_history"]
    assert len(units["rag"]) == 6


# -- the six invariants --------------------------------------------------------------------


def test_the_six_invariants_hold_on_a_fresh_store_and_each_can_fail(backbone: Backbone) -> None:
    memory = make_memory(ARMS["fresh"], backbone, 0)
    assert isinstance(memory, Memory)
    exam = Exam.draw(backbone, 0, 20, sessions=1, questions=4)
    figures = measure_invariants(memory, backbone, exam)
    assert holds(figures) == dict.fromkeys(figures, True)
    for name, wrong in {
        "triples": 2.0, "raw_fields": 1.0, "active_sets": 1.0, "misalignment": 0.01,
        "reconstruction": 0.2, "prefix_slots": 5.0,
    }.items():  # fmt: skip
        assert not holds({**figures, name: wrong})[name]


def test_a_store_forgets_whole_and_finds_in_its_trees(backbone: Backbone) -> None:
    memory = make_memory(ARMS["fresh"], backbone, 0)
    assert isinstance(memory, Memory)
    exam = Exam.draw(backbone, 0, 12, sessions=1, questions=4)
    told = backbone.read_sessions(exam.sessions)
    entries = memory.encode(told)
    (store,) = fill_stores(memory, told, entries, backbone.width)
    own = {name: store.entries[5].triples[name] for name in NAMES}
    assert store.find(memory, own, 1) == [5]
    store.remove(5)
    assert 5 not in store.find(memory, own, 12)
    assert all(5 not in tree.ids for tree in store.trees.values())
