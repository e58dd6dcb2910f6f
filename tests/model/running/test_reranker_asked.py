"""A causal language model as a reranker: the question as written, one token for each answer, packed or padded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sentence_transformers import CrossEncoder

from embedkit.errors import RecipeError
from embedkit.model.running.reranker import Reranker
from embedkit.recipe.model import Question
from embedkit.recipe.schema import Model
from tests.device import DEVICE
from tests.model.architectures import build
from tests.tiny import sentences

QUESTION = {"text": "zuzu {query} bade {document} defi :", "yes": "gogo", "no": "kuku"}
PAIRS = list(zip(sentences(9, seed=3, longest=5), sentences(9, seed=4, longest=15), strict=True))


@pytest.fixture(scope="module", params=["llama", "qwen3"])
def base(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(request.param, tmp_path_factory.mktemp("asked") / "model")


def reranker(base: Path, question: dict[str, Any] | None = None, **options: Any) -> Reranker:
    block = {"kind": "reranker", "base": str(base), "question": question or QUESTION, **options}
    return Reranker.load(Model.model_validate(block), device=DEVICE)


def by_hand(model: Reranker, query: str, document: str, no: str | None = "kuku") -> float:
    """The question written out, one plain forward, two logits of the last position."""
    tokenizer, backbone = model.st[0].tokenizer, model.st[0].auto_model
    text = QUESTION["text"].replace("{query}", query).replace("{document}", document)
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    first = tokenizer("a")["input_ids"][:1]  # [CLS] stands for the beginning
    with torch.no_grad():
        logits = backbone(torch.tensor([first + ids], device=DEVICE)).logits[0, -1]
    yes = logits[tokenizer.convert_tokens_to_ids("gogo")]
    return float(yes if no is None else yes - logits[tokenizer.convert_tokens_to_ids(no)])


def test_the_score_is_the_answers_logits(base: Path) -> None:
    model = reranker(base)
    assert not model.new_head
    wanted = [by_hand(model, *pair) for pair in PAIRS]
    assert np.ptp(wanted) > 1e-4
    np.testing.assert_allclose(model.score(PAIRS), wanted, atol=1e-5)
    plain = model.st.predict([list(p) for p in PAIRS], activation_fn=torch.nn.Identity())
    np.testing.assert_allclose(model.score(PAIRS), plain, atol=1e-5)


def test_yes_alone(base: Path) -> None:
    model = reranker(base, {**QUESTION, "no": None})
    np.testing.assert_allclose(model.score(PAIRS), [by_hand(model, *pair, no=None) for pair in PAIRS], atol=1e-5)


def test_packed_and_padded_scores_are_equal(base: Path) -> None:
    model = reranker(base)
    assert model.module.packs
    packed = model.score(PAIRS)
    model.module.packs = False
    np.testing.assert_allclose(packed, model.score(PAIRS), atol=1e-5)


def test_a_long_document_is_cut_and_the_question_kept(base: Path) -> None:
    model = reranker(base, max_length=24)
    (ids,), _ = _tokens(model, "vivi", " ".join(["sasa"] * 60))
    words = model.st[0].tokenizer.convert_ids_to_tokens(ids)
    assert len(words) == 24 and words[-2:] == ["defi", ":"] and words[2:4] == ["vivi", "bade"]


def _tokens(model: Reranker, query: str, document: str) -> Any:
    from embedkit.types import Row

    return model.tokenize([Row(document, 0, 1, "document", query=query)])


def test_it_is_saved_with_its_question(base: Path, tmp_path: Path) -> None:
    model = reranker(base)
    model.save(tmp_path)
    plain = CrossEncoder(str(tmp_path), device=DEVICE)
    found = plain.predict([list(p) for p in PAIRS], activation_fn=torch.nn.Identity())
    np.testing.assert_allclose(found, model.score(PAIRS), atol=1e-5)
    again = Reranker.load(Model.model_validate({"kind": "reranker", "base": str(tmp_path)}), device=DEVICE)
    assert again.fingerprint() == model.fingerprint(), "None keeps the model's own question"
    other = reranker(tmp_path, {**QUESTION, "no": "vivi"})
    assert other.fingerprint() != model.fingerprint()


@pytest.mark.parametrize(
    ("change", "where", "says"),
    [
        ({"yes": "gogo kuku"}, "model.question.yes", "2 tokens"),
        ({"no": "\u4f60"}, "model.question.no", "unknown"),
        ({"no": "gogo"}, "model.question.no", "same token"),
    ],
)
def test_answers_that_cannot_be_read_are_refused(base: Path, change: Any, where: str, says: str) -> None:
    with pytest.raises(RecipeError, match=says) as caught:
        reranker(base, {**QUESTION, **change})
    assert caught.value.where == where and caught.value.cure


def test_an_encoder_answers_nothing(bert: Path) -> None:
    with pytest.raises(RecipeError, match="answers no question"):
        reranker(bert)


@pytest.mark.parametrize("text", ["{query}", "{document} {query}", "{query} {query} {document}"])
def test_a_question_has_two_places(text: str) -> None:
    with pytest.raises(ValueError, match="once each"):
        Question(text=text)
