"""Prompts: ours are sound, a user's are checked, and what a call is told depends on its texts and the seed alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from embedkit.errors import RecipeError
from embedkit.synthesis.prompts import VARIABLES, Prompter, load_prompts

FIELDS = {
    "paraphrase": {"text": "A cat sat."},
    "fill": {"text": "A cat sat.", "masked": "A <mask> sat."},
    "score": {"text_a": "A cat sat.", "text_b": "A dog ran."},
    "positive": {"text": "A cat sat."},
    "negative": {"text": "A cat sat."},
    "sentences": {"count": 10},
    "answers": {"query": "Who sat?", "document": "A cat sat."},
    "query": {"text": "A cat sat."},
    "grade": {"query": "Who sat?", "document": "A cat sat."},
}


@pytest.mark.parametrize("kind", sorted(VARIABLES))
def test_ours_hold_what_they_are_told(prompter: Prompter, kind: str) -> None:
    call = prompter.call(kind, **FIELDS[kind])
    content = call.messages[-1][1]
    told = dict(FIELDS[kind])
    if kind == "fill":
        del told["text"]  # the sentence before masking would give the answer away
    assert all(str(value) in content for value in told.values())
    assert "{" not in content and "\n\n\n" not in content
    assert call.one_line is (kind != "sentences")


def test_examples_and_instructions_vary_with_the_seed_and_the_text_only(prompter: Prompter) -> None:
    calls = [prompter.call("positive", text=f"Sentence {i} is here.") for i in range(40)]
    assert calls == [prompter.call("positive", text=f"Sentence {i} is here.") for i in range(40)]
    prompt = prompter.prompts.positive
    first_words = {call.messages[0][1].split(".")[0] for call in calls}
    assert first_words == {text.rstrip(".") for text in prompt.choices["instruction"]}
    assert all(call.messages[0][1].count("Answer: ") == prompt.shots for call in calls)
    assert len({call.seed for call in calls}) == 40
    other = Prompter(prompter.prompts, 1)
    assert sum(other.call("positive", text=f"Sentence {i} is here.") != call for i, call in enumerate(calls)) == 40


def test_what_is_asked_several_times_is_drawn_anew(prompter: Prompter) -> None:
    calls = {prompter.call("sentences", draw=draw, count=10) for draw in range(20)}
    assert len(calls) == 20 and len({call.messages for call in calls}) > 15


def test_a_users_file_replaces_the_kinds_it_names(tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    path.write_text("score: {max_tokens: 3, messages: [{content: '{{ text_a }} = {{ text_b }}?'}]}\n")
    prompts = load_prompts(path)
    call = Prompter(prompts, 0).call("score", text_a="a", text_b="b")
    assert (call.messages, call.max_tokens, call.temperature) == ((("user", "a = b?"),), 3, 0.7)
    assert prompts.fill == load_prompts().fill


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("scroe: {messages: [{content: a}]}", "p.yaml:1: scroe: unknown key"),
        ("fill:\n  messages: [{content: a}]\n  temprature: 1", "p.yaml:3: fill.temprature: unknown key"),
        ("fill: {messages: [{content: a}], top_p: 2}", "fill.top_p"),
        ("fill: {messages: []}", "fill.messages"),
        ("\nfill: {messages: [{content: '{{ maskd }}'}]}", "p.yaml:2: fill: unknown variable 'maskd'"),
        ("fill: {messages: [{content: '{{ text'}]}", "malformed template"),
        ("fill: {messages: [{content: '{{ examples }}'}], shots: 1}", "fill.shots: 1 of 0 examples"),
        ("fill: {messages: [{content: '{{ x }}'}], choices: {x: []}}", "fill.choices.x: an empty list"),
        ("fill: [", "p.yaml"),
    ],
)
def test_a_wrong_file_is_refused_with_its_line(tmp_path: Path, text: str, expected: str) -> None:
    path = tmp_path / "p.yaml"
    path.write_text(text + "\n")
    with pytest.raises(RecipeError) as error:
        load_prompts(path)
    assert expected in str(error.value)


def test_templates_cannot_reach_out(tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    path.write_text('fill: {messages: [{content: "{{ text.__class__.__mro__[1].__subclasses__() }}"}]}\n')
    with pytest.raises(RecipeError, match="cannot be made"):
        Prompter(load_prompts(path), 0).call("fill", text="a", masked="b")
