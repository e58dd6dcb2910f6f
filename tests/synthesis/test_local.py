"""A local model: real generation, sampling that does not depend on the batch, ends of answers, its identity."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from embedkit.errors import RecipeError
from embedkit.model.running.sampling import Gumbel
from embedkit.synthesis.calls import Call, Reply, key
from embedkit.synthesis.local import LocalModel
from tests.synthesis.causal import tiny_lm
from tests.tiny import WORDS, sentences

CALL = Call("fill", (("user", "bade fi go"),), 1.0, 0.9, 12, True, 5)
CALLS = [replace(CALL, messages=(("user", text),), seed=i) for i, text in enumerate(sentences(11, seed=3))]


@pytest.fixture(scope="module")
def model(lm: Path) -> LocalModel:
    return LocalModel(str(lm), device="cpu")


def ask(model: LocalModel, *calls: Call) -> list[Reply]:
    replies = dict(model.answer(calls))
    return [replies[i] for i in range(len(calls))]


def test_answers_do_not_depend_on_the_batch(lm: Path, model: LocalModel) -> None:
    together = ask(model, *CALLS)
    alone = [ask(model, call)[0] for call in CALLS]
    pairs = ask(LocalModel(str(lm), device="cpu", batch_size=2), *reversed(CALLS))
    assert together == alone == pairs[::-1]
    assert len({reply.text for reply in together}) == len(CALLS)


def test_the_seed_decides(model: LocalModel) -> None:
    texts = [ask(model, replace(CALL, seed=seed))[0].text for seed in range(8)]
    assert len(set(texts)) == 8
    assert ask(model, replace(CALL, seed=3))[0].text == texts[3]


def test_temperature_zero_takes_the_likeliest_token(model: LocalModel) -> None:
    reply = ask(model, replace(CALL, temperature=0.0))[0]
    ids = model.tokenizer(model._text(CALL), return_tensors="pt")["input_ids"]
    expected = []
    for _ in range(CALL.max_tokens):
        token = int(model.model(input_ids=ids).logits[0, -1].argmax())
        expected.append(token)
        if token in model.ends:
            break
        ids = torch.cat([ids, torch.tensor([[token]])], dim=1)
    assert reply.text == model.tokenizer.decode(expected, skip_special_tokens=True)
    assert reply == ask(model, replace(CALL, temperature=0.0, seed=99))[0]


def test_noise_and_argmax_draw_from_the_softmax() -> None:
    share = torch.tensor([0.6, 0.3, 0.1, 0.0])
    count = 20_000
    noise = Gumbel(range(count), torch.device("cpu"))
    drawn = noise(torch.zeros(count, 1), share.log().expand(count, 4)).argmax(-1)
    found = torch.bincount(drawn, minlength=4) / count
    error = 4 * (share * (1 - share) / count).sqrt()
    assert ((found - share).abs() <= error).all(), found


def test_a_small_nucleus_is_the_likeliest_token(model: LocalModel) -> None:
    assert ask(model, replace(CALL, top_p=1e-6))[0].text == ask(model, replace(CALL, temperature=0.0))[0].text


@pytest.mark.parametrize("chat", [True, False])
def test_only_allowed_answers_are_given(tmp_path: Path, chat: bool) -> None:
    model = LocalModel(str(tiny_lm(tmp_path / "lm", chat=chat)), device="cpu")
    allowed = (WORDS[0], f"{WORDS[0]} {WORDS[1]}", f"{WORDS[2]} {WORDS[1]}", "0.005")
    calls = [replace(CALL, allowed=allowed, top_p=1.0, temperature=2.0, seed=seed) for seed in range(60)]
    replies = ask(model, *calls)
    given = {reply.text.strip() for reply in replies}
    assert given <= set(allowed) and len(given) > 2
    assert all(reply.finish == "stop" for reply in replies)
    assert replies[:7] == ask(model, *calls[:7])


def test_the_likeliest_allowed_answer_is_the_one_with_the_largest_logit(model: LocalModel) -> None:
    allowed = WORDS[:3]
    ids = model.tokenizer(model._text(CALL), return_tensors="pt")["input_ids"]
    logits = model.model(input_ids=ids).logits[0, -1]
    tokens = [model.tokenizer(text)["input_ids"][0] for text in allowed]
    best = allowed[int(logits[tokens].argmax())]
    assert ask(model, replace(CALL, allowed=allowed, temperature=0.0))[0].text == best


def test_an_answer_that_the_tokenizer_cannot_write_is_not_forced(model: LocalModel) -> None:
    free = ask(model, CALL)[0]
    assert ask(model, replace(CALL, allowed=(WORDS[0], "qwxyz")))[0].text == free.text


def test_the_name_of_an_answer_depends_on_what_is_allowed() -> None:
    assert key({}, CALL) != key({}, replace(CALL, allowed=("yes",)))
    assert key({}, CALL) == key({}, replace(CALL, kind="score"))


def test_calls_sampled_differently_may_come_together(model: LocalModel) -> None:
    calls = [replace(CALL, temperature=t, max_tokens=n) for t in (0.0, 1.0) for n in (1, 5)]
    replies = ask(model, *calls)
    assert replies == [ask(model, call)[0] for call in calls]
    assert replies[1].text.startswith(replies[0].text) and replies[1] != replies[3]


def test_tokens_and_ends_are_counted(model: LocalModel) -> None:
    replies = ask(model, *[replace(CALL, seed=seed, max_tokens=60, temperature=2.0, top_p=1.0) for seed in range(30)])
    assert {reply.finish for reply in replies} == {"stop", "length"}
    for reply in replies:
        assert reply.prompt_tokens == len(["user", ":", "bade", "fi", "go", "assistant", ":"])
        assert reply.completion_tokens is not None
        assert (reply.completion_tokens == 60) if reply.finish == "length" else (reply.completion_tokens <= 60)
        assert len(reply.text.split()) <= reply.completion_tokens


def test_without_a_chat_template_an_answer_ends_with_its_line(plain_lm: Path) -> None:
    model = LocalModel(str(plain_lm), device="cpu")
    assert model._text(CALL) == "bade fi go\nAnswer:"
    calls = [replace(CALL, seed=seed, max_tokens=100, temperature=2.0, top_p=1.0) for seed in range(40)]
    one = ask(model, *calls)
    many = ask(model, *[replace(call, one_line=False) for call in calls])
    assert any("\n" in reply.text.strip() for reply in many)
    for short, long in zip(one, many, strict=True):
        assert "\n" not in short.text
        whole = long.text.lstrip()
        if "\n" in whole:
            assert short.text == whole.split("\n", 1)[0] and short.finish == "stop"
            assert short.completion_tokens is not None and long.completion_tokens is not None
            assert 0 < short.completion_tokens < long.completion_tokens
        else:
            assert short == long


def test_a_prompt_that_does_not_fit_is_not_asked(tmp_path: Path) -> None:
    model = LocalModel(str(tiny_lm(tmp_path / "short", positions=20)), device="cpu")
    long = replace(CALL, messages=(("user", " ".join(["bade"] * 30)),))
    replies = ask(model, CALL, long)
    assert (replies[0].finish, replies[1]) == (replies[0].finish, Reply("", "too_long", 0, 0))
    assert replies[0].completion_tokens


def test_the_identity_is_the_content(lm: Path, tmp_path: Path, model: LocalModel) -> None:
    copy, other = tiny_lm(tmp_path / "copy"), tiny_lm(tmp_path / "other", seed=1)
    assert LocalModel(str(copy)).identity == model.identity
    assert LocalModel(str(other)).identity != model.identity
    assert LocalModel(str(copy), dtype="bfloat16").identity != model.identity
    assert key(LocalModel(str(copy)).identity, CALL) == key(model.identity, CALL)


@pytest.mark.parametrize("make", [lambda p: p / "nowhere", lambda p: p], ids=["missing", "empty"])
def test_no_model_is_an_error(tmp_path: Path, make: Callable[[Path], Path]) -> None:
    with pytest.raises(RecipeError, match="--model"):
        LocalModel(str(make(tmp_path)))


def test_a_template_that_refuses_the_messages_is_an_error(tmp_path: Path) -> None:
    path = tiny_lm(tmp_path / "strict")
    file = path / "chat_template.jinja"
    assert file.is_file()
    file.write_text("{% if messages[0].role == 'system' %}{{ raise_exception('no system role') }}{% endif %}a")
    with pytest.raises(RecipeError, match="no system role"):
        ask(LocalModel(str(path), device="cpu"), replace(CALL, messages=(("system", "a"), ("user", "b"))))
