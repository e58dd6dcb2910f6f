"""The page on publishing runs, one command after the other, against a Hub on this machine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import Done, embedkit  # noqa: F401
from tests.hub.server import Hub
from tests.hub.test_publish import MODEL
from tests.test_docs import ROOT, blocks, recipes_of
from tests.test_docs_run import shown, small, work  # noqa: F401

PAGE = ROOT / "docs" / "publishing.md"


@pytest.mark.slow
def test_every_command_of_the_page(
    embedkit: Callable[..., Done],  # noqa: F811
    work: Path,  # noqa: F811
    hub: Hub,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    owner = next(iter(hub.tokens))
    hub.tokens[owner] = ("me", {"me"})
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    for name, text in recipes_of(PAGE).items():
        Path(name).write_text(text, encoding="utf-8")
    first = embedkit(*small(["train", "faq.yaml", "--out", "runs/faq"]))
    assert first.code == 0, first.err
    ran = shown(PAGE)
    assert [words[0] for words in ran] == ["publish", "publish", "train"]
    for words in ran:
        done = embedkit(*(small(words) if words[0] == "train" else words))
        assert done.code == 0, (words, done.err)
    assert set(hub.repos) == {"me/faq-model", "me/faq-model-2"}
    for repo in hub.repos:
        assert set(hub.files(repo)) >= MODEL | {".eval_results/mini-retrieval.yaml", "recipe.yaml"}
    (code,) = blocks(PAGE, "python")
    space: dict[str, object] = {}
    exec(compile(code, "publishing.md", "exec"), space)
    assert space["found"].problems == []  # type: ignore[attr-defined]
