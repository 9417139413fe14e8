"""Prompts with a needle: exact length, exact place, the same for the same unit."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from bridge.errors import UsageError
from tests import tiny_language
from workloads.shared.needles import LONGEST_SNAP, Haystack, Prompt, draw_needles


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return tiny_language.make_tokenizer()


@pytest.fixture(scope="module")
def haystack(tokenizer: Any, tmp_path_factory: pytest.TempPathFactory) -> Haystack:
    return Haystack.read(tokenizer, tiny_language.write_essays(tmp_path_factory.mktemp("essays")))


def make(haystack: Haystack, depth: float = 0.5, context: int = 400, **more: Any) -> Prompt:
    return haystack.make_prompt(random.Random(3), context=context, depth=depth, **more)


@pytest.mark.parametrize("context", [280, 333, 400])
@pytest.mark.parametrize("depth", [0.0, 0.3, 1.0])
def test_a_prompt_has_the_length_it_says_and_the_needle_where_it_says(
    haystack: Haystack, tokenizer: Any, context: int, depth: float
) -> None:
    prompt = make(haystack, depth, context)
    assert len(prompt.ids) == context
    text = tokenizer.decode(prompt.ids[prompt.start : prompt.end])
    assert text.strip() == prompt.needle.statement
    assert tokenizer.decode(prompt.ids).count(prompt.needle.code) == 1
    assert tokenizer.decode(prompt.ids).endswith(prompt.needle.answer_prefix)


def test_the_needle_stands_between_sentences_near_its_depth(
    haystack: Haystack, tokenizer: Any
) -> None:
    first, last = make(haystack, 0.0), make(haystack, 1.0)
    room = last.start - first.start
    for depth in (0.25, 0.5, 0.75):
        prompt = make(haystack, depth)
        assert abs(prompt.start - first.start - depth * room) <= LONGEST_SNAP
        assert tokenizer.decode(prompt.ids[: prompt.start]).endswith((".", "!", "?"))


def test_an_abbreviation_ends_no_sentence(tokenizer: Any) -> None:
    text = "It is said, e.g.by some, that nothing is. " * 40
    prompt = Haystack(tokenizer, text).make_prompt(random.Random(0), context=300, depth=0.5)
    assert tokenizer.decode(prompt.ids[: prompt.start]).endswith("nothing is.")


def test_without_its_needle_a_prompt_is_otherwise_the_same(
    haystack: Haystack, tokenizer: Any
) -> None:
    present, absent = make(haystack), make(haystack, present=False)
    assert len(absent.ids) == len(present.ids)
    assert absent.needle == present.needle
    assert absent.start == absent.end == present.start
    assert present.needle.code not in tokenizer.decode(absent.ids)
    assert absent.ids[: absent.start] == present.ids[: absent.start]
    assert absent.digest != present.digest


def test_prompts_depend_on_the_random_source_alone(haystack: Haystack) -> None:
    assert make(haystack) == make(haystack)
    other = haystack.make_prompt(random.Random(4), context=400, depth=0.5)
    assert other.digest != make(haystack).digest


def test_distractors_are_about_other_subjects(haystack: Haystack, tokenizer: Any) -> None:
    prompt = make(haystack, distractors=3)
    text = tokenizer.decode(prompt.ids)
    assert len(prompt.ids) == 400
    # four statements, the question and the start of the answer
    assert text.count("secret code of the") == 6
    found = tokenizer.decode(prompt.ids[prompt.start : prompt.end])
    assert found.strip() == prompt.needle.statement


def test_needles_of_one_prompt_share_nothing() -> None:
    needles = draw_needles(random.Random(0), 200)
    assert len({needle.subject for needle in needles}) == 200
    assert len({needle.code for needle in needles}) == 200


def test_a_needle_is_outside_only_where_all_of_it_is_evicted() -> None:
    needle = draw_needles(random.Random(0), 1)[0]

    def lies_outside(start: int, end: int) -> bool:
        return Prompt(tuple(range(100)), start, end, needle).is_outside(sink=4, window=20)

    assert lies_outside(4, 80)
    assert not lies_outside(3, 10)
    assert not lies_outside(70, 81)


def test_a_chat_template_frames_the_prompt(tmp_path: Path) -> None:
    tokenizer = tiny_language.make_tokenizer(chat=True)
    essays = tiny_language.write_essays(tmp_path / "essays")
    prompt = make(Haystack.read(tokenizer, essays, chat=True))
    text = tokenizer.decode(prompt.ids)
    assert len(prompt.ids) == 400
    assert text.startswith("<|user|>")
    assert text.endswith(f"<|assistant|>{prompt.needle.answer_prefix}")


def test_a_chat_template_that_is_not_there_is_an_error(tokenizer: Any) -> None:
    with pytest.raises(UsageError, match="no chat template"):
        Haystack(tokenizer, "Some text.", chat=True)


def test_a_context_too_short_says_what_is_needed(haystack: Haystack) -> None:
    with pytest.raises(UsageError) as caught:
        make(haystack, context=40)
    assert caught.value.where == "$.config.contexts"
    least = int(caught.value.remedy.split()[-1])
    assert len(make(haystack, context=least).ids) == least
    with pytest.raises(UsageError):
        make(haystack, context=least - 1)


def test_a_folder_without_texts_is_an_error(tokenizer: Any, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"holds no \.txt file"):
        Haystack.read(tokenizer, tmp_path)
    (tmp_path / "empty.txt").write_text("")
    with pytest.raises(UsageError, match="holds no text"):
        Haystack.read(tokenizer, tmp_path)


def test_a_haystack_shorter_than_the_context_is_repeated(tokenizer: Any) -> None:
    prompt = Haystack(tokenizer, "One sentence. Another one.").make_prompt(
        random.Random(0), context=500, depth=0.5
    )
    assert len(prompt.ids) == 500
