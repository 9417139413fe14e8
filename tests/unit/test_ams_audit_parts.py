"""The parts of the audited memory: words, mechanisms, mixture, store, losses."""

from __future__ import annotations

import random

import pytest
import torch

from bridge.errors import UsageError
from tests.tiny_language import make_llama
from workloads.ams_audit.config import ARMS, Config, Mechanisms
from workloads.ams_audit.lessons import draw_corpus, draw_lesson, make_source
from workloads.ams_audit.lexicon import DOMAINS, FUNCTION_WORDS, OPENINGS, SEEN, SET_B
from workloads.ams_audit.live import DeafMemory, LiveMemory
from workloads.ams_audit.mechanisms import distil, make_memory, mark, read_projections
from workloads.ams_audit.memory import SLOTS, mix, point
from workloads.ams_audit.reading import Passage, read_passages
from workloads.ams_audit.stage import TEXTS
from workloads.ams_audit.subjects import make_rows
from workloads.ams_audit.tokens import Vocabulary
from workloads.ams_audit.training import Batch, measure_losses
from workloads.shared.curriculum import Stage
from workloads.shared.frozen import FrozenModel
from workloads.shared.tiny_models import build_tiny

pytestmark = pytest.mark.usefixtures("fixed_seed")

WIDTH = 128


@pytest.fixture(scope="module")
def words() -> Vocabulary:
    return Vocabulary.of_words()


@pytest.fixture(scope="module")
def model(words: Vocabulary) -> FrozenModel:
    built = build_tiny(
        "qwen3", seed=0, hidden=WIDTH, layers=2, period=2, kv_heads=2, vocabulary=words.size
    )
    return FrozenModel(built, words.starters.float())


@pytest.fixture(scope="module")
def corpus(model: FrozenModel, words: Vocabulary) -> list[Passage]:
    return read_passages(model, words, draw_corpus(0, 12))


def live(model: FrozenModel, words: Vocabulary, corpus: list[Passage], arm: str) -> LiveMemory:
    mechanisms = ARMS[arm].mechanisms  # type: ignore[index]
    memory = make_memory(mechanisms, model, corpus, 0).eval().requires_grad_(False)
    return LiveMemory(memory, model, words)


# -- words ---------------------------------------------------------------------------------


def test_every_text_and_prompt_is_made_of_known_words(words: Vocabulary) -> None:
    for text in [*OPENINGS, *[one.text for rows in TEXTS.values() for one in rows]]:
        assert words.decode(words.encode(text)) == text
    with pytest.raises(KeyError):
        words.encode("the zither")


def test_a_token_is_of_one_kind(words: Vocabulary) -> None:
    kinds = words.starters.int() + words.functions.int() + words.marks.int()
    assert int(kinds.max()) == 1
    assert all(bool(words.functions[token]) for token in words.find(FUNCTION_WORDS))
    for name, domain in DOMAINS.items():
        assert all(bool(words.starters[token]) for token in words.keywords(name))
        assert len(set(words.keywords(name))) == len(domain.keywords)


def test_rows_for_the_language_model_keep_to_one_domain(words: Vocabulary) -> None:
    ids, labels = make_rows(words, random.Random(0), Stage("t", "topics", 64, 6, 1))
    assert ids.shape == labels.shape == (6, 64)
    assert torch.equal(ids[:, 1:], labels[:, :-1])
    for row in ids.tolist():
        present = {name for name in DOMAINS if set(words.keywords(name)) & set(row)}
        assert len(present) == 1


def test_lessons_know_two_domains_and_no_held_out_prompt() -> None:
    source = make_source("test", 0)
    held = {word for name in set(DOMAINS) - set(SEEN) for word in DOMAINS[name].keywords}
    for _ in range(50):
        lesson = draw_lesson(source, 4)
        assert lesson.prompt not in SET_B
        said = {word for one in lesson.told for word in one.text.split()}
        assert not held & {*said, *lesson.prompt.split()}


# -- mechanisms ----------------------------------------------------------------------------


def test_m1_leaves_no_encoder(model: FrozenModel, words: Vocabulary, corpus: list[Passage]) -> None:
    with_encoder, without = (live(model, words, corpus, arm) for arm in ("baseline", "stacked"))
    for memory in (with_encoder, without):
        memory.write(TEXTS["music"][0].text)
    assert set(with_encoder.fields(0)) == {"semantic", "slot", "descriptor"}
    assert set(without.fields(0)) == {"semantic", "slot"}
    assert "encoder" in with_encoder.learn()
    assert "encoder" not in without.learn()


def test_m2_takes_the_first_layers_projections_head_by_head(
    model: FrozenModel, corpus: list[Passage]
) -> None:
    memory = make_memory(Mechanisms(warm_start=True), model, corpus, 0)
    weight = memory.bridge.former.layers[0].multihead_attn.in_proj_weight
    attention = model.model.get_decoder().layers[0].self_attn
    queries, keys, values = weight.split(WIDTH)
    assert torch.equal(queries, attention.q_proj.weight)
    for taken, own in ((keys, attention.k_proj.weight), (values, attention.v_proj.weight)):
        assert own.shape == (WIDTH // 2, WIDTH)  # two heads for four
        for head in range(4):
            block = own[32 * (head // 2) : 32 * (head // 2 + 1)]
            assert torch.equal(taken[32 * head : 32 * (head + 1)], block)


def test_m2_refuses_heads_that_do_not_fit() -> None:
    llama = FrozenModel(make_llama(head_dim=16), torch.ones(600))
    with pytest.raises(UsageError, match="32 wide"):
        read_projections(llama)


def test_m4_turns_the_queries_and_keeps_their_length(
    model: FrozenModel, corpus: list[Passage]
) -> None:
    plain, pooled = (
        make_memory(Mechanisms(pooled_queries=on), model, corpus, 0) for on in (False, True)
    )
    lengths = [memory.bridge.slots.norm(dim=-1).mean().item() for memory in (plain, pooled)]
    assert lengths[0] == pytest.approx(lengths[1], rel=0.02)
    assert mark(pooled, model, corpus)["pooled_cosine"] > 0.95
    assert mark(plain, model, corpus)["pooled_cosine"] < 0.5


@pytest.mark.parametrize("arm", ["baseline", "stacked", "no_m2_m3", "m3_centroid"])
def test_marks_tell_the_arms_apart(model: FrozenModel, corpus: list[Passage], arm: str) -> None:
    mechanisms = ARMS[arm].mechanisms  # type: ignore[index]
    marks = mark(make_memory(mechanisms, model, corpus, 0), model, corpus)
    assert (marks["warm_cosine"] > 0.99) is mechanisms.warm_start
    assert (marks["pooled_cosine"] > 0.9) is mechanisms.pooled_queries


def test_m3_pulls_to_the_target_that_is_named(model: FrozenModel, corpus: list[Passage]) -> None:
    memory = make_memory(Mechanisms(), model, corpus, 0)
    loudness = float(memory.bridge.scale.detach()) * WIDTH**0.5
    for target, other in (("hidden_mean", "centroid"), ("content_centroid", "semantic")):
        vector = getattr(corpus[0], "semantic" if target == "hidden_mean" else "centroid")
        there = (vector / vector.norm() * loudness).expand(1, 6, WIDTH)
        elsewhere = getattr(corpus[0], other).expand(1, 6, WIDTH)
        near = distil(memory, target, there, corpus[:1])  # type: ignore[arg-type]
        far = distil(memory, target, elsewhere, corpus[:1])  # type: ignore[arg-type]
        assert float(near) == pytest.approx(0, abs=1e-5)
        assert float(far) > 0.1


# -- the mixture ---------------------------------------------------------------------------


def test_found_words_are_mixed_in_once_each(corpus: list[Passage], words: Vocabulary) -> None:
    pointer = point([corpus[:2]], torch.tensor([[0.75, 0.25]]), words.size)
    assert float(pointer.sum()) == pytest.approx(1)
    logits = torch.randn(1, 1, words.size)
    said = torch.zeros(1, 1, words.size, dtype=torch.bool)
    half = mix(logits, pointer, said, torch.tensor([0.5])).exp()
    assert float(half.sum()) == pytest.approx(1, abs=1e-5)
    none = mix(logits, pointer, said, torch.tensor([0.0]))
    assert torch.allclose(none, logits.log_softmax(-1), atol=1e-5)
    word = corpus[0].starters[0]
    said[0, 0, word] = True
    after = mix(logits, pointer, said, torch.tensor([0.5])).exp()
    assert float(after[0, 0, word]) < float(half[0, 0, word])
    every = torch.ones_like(said)
    assert torch.allclose(mix(logits, pointer, every, torch.tensor([0.5])), none, atol=1e-5)


# -- the store -----------------------------------------------------------------------------


@pytest.mark.parametrize("arm", ["baseline", "stacked"])
def test_a_store_finds_what_it_was_told_and_an_empty_one_says_nothing(
    model: FrozenModel, words: Vocabulary, corpus: list[Passage], arm: str
) -> None:
    memory = live(model, words, corpus, arm)
    plain = memory.logits("tell me about")
    assert torch.equal(plain, memory.logits("tell me about", memory=False))
    assert memory.gate("tell me about") == 0
    with pytest.raises(ValueError, match="empty"):
        memory.prefix("tell me about")
    items = {one.text: memory.write(one.text) for rows in TEXTS.values() for one in rows}
    for text, item in items.items():
        assert memory.retrieve(text, 1)[0] == (item, pytest.approx(1, abs=1e-5))
    assert memory.prefix("tell me about").shape == (SLOTS, WIDTH)
    told = memory.logits("tell me about")
    assert not torch.allclose(told, plain, atol=1e-2)
    assert torch.allclose(told.exp().sum(), torch.tensor(1.0), atol=1e-4)
    shorter = memory.logits("tell me about", slots=SLOTS // 2)
    assert not torch.allclose(told, shorter, atol=1e-4)
    loaded = memory.load(memory.save())
    assert torch.equal(loaded.logits("tell me about"), told)
    deaf = DeafMemory(memory._memory, model, words)
    deaf.write(TEXTS["music"][0].text)
    assert torch.equal(deaf.logits("tell me about"), plain)


def test_a_trace_is_greedy_and_says_what_it_came_from(
    model: FrozenModel, words: Vocabulary, corpus: list[Passage]
) -> None:
    memory = live(model, words, corpus, "baseline")
    memory.write(TEXTS["music"][0].text)
    trace = memory.trace("tell me about", 6)
    assert trace.tokens == tuple(trace.logits.argmax(-1).tolist())
    assert torch.allclose(trace.logits[0], memory.logits("tell me about"), atol=1e-6)


def test_bytes_are_counted_from_tensors(
    model: FrozenModel, words: Vocabulary, corpus: list[Passage]
) -> None:
    memory = live(model, words, corpus, "stacked")
    text = TEXTS["music"][0].text
    memory.write(text)
    kept, context = memory.footprint()
    assert context == len(words.encode(text)) * 2 * 2 * 2 * 32 * 4  # layers, K and V, heads, float
    assert kept == 3 * WIDTH * 4 + 8 * len(words.list_starters(text))


# -- losses --------------------------------------------------------------------------------


@pytest.mark.parametrize("arm", ["baseline", "stacked"])
def test_every_loss_is_finite_and_every_part_learns(
    model: FrozenModel, words: Vocabulary, corpus: list[Passage], arm: str
) -> None:
    memory = make_memory(ARMS[arm].mechanisms, model, corpus, 0)  # type: ignore[index]
    lessons = [draw_lesson(make_source(f"{n}", 0), 4) for n in range(3)]
    losses = measure_losses(memory, model, words, Batch.read(model, words, lessons))
    assert len(losses) == 6
    assert all(bool(loss.isfinite()) for loss in losses.values())
    sum(losses.values()).backward()  # type: ignore[union-attr]
    still = [name for name, value in memory.named_parameters() if value.grad is None]
    assert still == []
    assert all(value.grad is None for value in model.model.parameters())


def test_arms_differ_in_one_thing_where_they_should() -> None:
    stacked = ARMS["stacked"].mechanisms
    assert ARMS["no_m2_m3"].mechanisms == Mechanisms(no_encoder=True, pooled_queries=True)
    assert ARMS["m3_centroid"].mechanisms == Mechanisms(
        stacked.no_encoder, stacked.warm_start, "content_centroid", stacked.pooled_queries
    )
    assert ARMS["reader_fix"].trained_as == "stacked"
    assert set(Config().arms) == set(ARMS)
