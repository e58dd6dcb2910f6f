from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from embedkit.errors import RecipeError
from embedkit.model.reading import templates
from embedkit.model.running.encoder import Encoder
from tests.model.architectures import build
from tests.model.processes import encoded_elsewhere
from tests.model.reading.test_tokens import rows_of
from tests.tiny import sentences

Load = Callable[..., Encoder]
TEXTS = [*sentences(9, seed=5, longest=20), "", "Bade: 7?", 'he said "defi"']
BEFORE, AFTER = 'This sentence : "', '" means in one word:"'


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("llama", tmp_path_factory.mktemp("llama") / "tiny")


def written(encoder: Encoder, texts: Sequence[str], training: bool) -> list[str]:
    """What the tokenizer is given, special tokens left out."""
    tokenizer = encoder.st[0].tokenizer
    options = templates.RAW if training else {}
    messages = [[{"role": "user", "content": text}] for text in texts]
    return [p.removeprefix("[CLS]") for p in tokenizer.apply_chat_template(messages, tokenize=False, **options)]


def ids_of(encoder: Encoder, texts: list[str]) -> list[list[int]]:
    return encoder.tokenize(rows_of(texts, ("query",)))[0]


def test_tokens_are_those_of_the_prompt_written_out(load: Load, llama: Path) -> None:
    """BOS ([CLS] here) stands first; what the tokenizer would append ([SEP]) does not stand at the end."""
    encoder = load(llama, template={})
    tokenizer = encoder.st[0].tokenizer
    assert tokenizer("bade")["input_ids"][-1] == tokenizer.sep_token_id
    for text, ids in zip(TEXTS, ids_of(encoder, TEXTS), strict=True):
        expected = tokenizer(BEFORE + text + AFTER, add_special_tokens=False)["input_ids"]
        assert ids == [tokenizer.cls_token_id, *expected]
        assert encoder.st.preprocess([text])["input_ids"][0].tolist() == ids


@pytest.mark.parametrize("max_length", [5, 9])
def test_the_sentence_is_cut_and_the_template_is_not(load: Load, llama: Path, max_length: int) -> None:
    encoder = load(llama, template={}, max_length=max_length)
    tokenizer = encoder.st[0].tokenizer
    words = sentences(1, seed=9, shortest=30, longest=30)[0].split()
    for count in (max_length - 1, max_length, max_length + 1, 30):
        ids = ids_of(encoder, [" ".join(words[:count])])[0]
        kept = " ".join(words[: min(count, max_length)])
        expected = [tokenizer.cls_token_id, *tokenizer(BEFORE + kept + AFTER, add_special_tokens=False)["input_ids"]]
        assert ids == expected
        assert encoder.st.preprocess([" ".join(words[:count])])["input_ids"][0].tolist() == ids
    both = load(llama, template={}).encode([" ".join(words)], max_length=max_length)
    np.testing.assert_allclose(both, encoder.encode([" ".join(words)]), atol=1e-6)


def test_demonstrations_stand_before(load: Load, llama: Path) -> None:
    demonstrations = [{"text": "A man is smoking.", "word": "Smoking"}, {"text": "bade.", "word": "Defi"}]
    encoder = load(llama, template={"demonstrations": demonstrations})
    first = 'This sentence : "A man is smoking." means in one word:"Smoking".'
    second = 'This sentence : "bade." means in one word:"Defi".'
    assert written(encoder, ["lame"], False) == [first + second + BEFORE + "lame" + AFTER]


def test_other_words(load: Load, llama: Path) -> None:
    """Quotes, braces, line ends, other scripts, and Jinja's own signs arrive as they are."""
    text = "a\\b \"q\" 's' {{ x }} {% if %} {# #}\n😀é: {text} =>"
    encoder = load(llama, template={"text": text})
    assert written(encoder, ["{{ 7 * 7 }} {text}"], False) == [text.replace("{text}", "{{ 7 * 7 }} {text}")]


def test_cleaning_is_for_inference(load: Load, llama: Path) -> None:
    raw = ["A dog runs", "Is it raining?", 'He said "yes"', "A cat sleeps.", "", "it's '"]
    clean = ["A dog runs.", "Is it raining.", "He said 'yes'", "A cat sleeps.", "", "it's '"]
    encoder = load(llama, template={"clean": "promptEOL"})
    assert written(encoder, raw, False) == [BEFORE + c + AFTER for c in clean]
    assert written(encoder, raw, True) == [BEFORE + r + AFTER for r in raw]
    none = load(llama, template={})
    assert written(none, raw, False) == written(none, raw, True) == [BEFORE + r + AFTER for r in raw]
    assert ids_of(encoder, raw) == ids_of(none, raw), "training sees texts as they are"
    np.testing.assert_allclose(encoder.encode(raw), none.encode(clean), atol=1e-6)
    np.testing.assert_allclose(encoder.st.encode(raw), none.encode(clean), atol=1e-6)


def test_the_last_token_is_pooled_and_padding_is_on_the_left(load: Load, llama: Path) -> None:
    encoder = load(llama, template={})
    assert encoder.st[1].pooling_mode in ("lasttoken", ("lasttoken",))
    features = encoder.st.preprocess(TEXTS)
    assert (features["attention_mask"][:, -1] == 1).all() and (features["attention_mask"][:, 0] == 0).any()
    alone = np.concatenate([encoder.st.encode([text]) for text in TEXTS])
    np.testing.assert_allclose(encoder.st.encode(TEXTS), alone, atol=5e-6)
    np.testing.assert_allclose(encoder.encode(TEXTS), alone, atol=5e-6)
    assert np.abs(alone - load(llama).encode(TEXTS)).max() > 1e-2, "the template has an effect"


@pytest.mark.parametrize(("family", "side"), [("opt", "left"), ("gpt2", "right"), ("qwen3", "left")])
def test_padding_side_follows_the_positions(load: Load, tmp_path: Path, family: str, side: str) -> None:
    """GPT-2 counts positions from the padding, so left padding would change its embeddings."""
    encoder = load(build(family, tmp_path / family), template={})
    assert encoder.st[0].tokenizer.padding_side == side
    alone = np.concatenate([encoder.st.encode([text]) for text in TEXTS])
    np.testing.assert_allclose(encoder.st.encode(TEXTS), alone, atol=5e-6)
    np.testing.assert_allclose(encoder.encode(TEXTS), alone, atol=5e-6)


def test_prompts_stand_before_the_template(load: Load, llama: Path) -> None:
    encoder = load(llama, template={}, prompts={"query": "Defi: "})
    tokenizer = encoder.st[0].tokenizer
    expected = tokenizer("Defi: " + BEFORE + "bade" + AFTER, add_special_tokens=False)["input_ids"]
    assert ids_of(encoder, ["bade"]) == [[tokenizer.cls_token_id, *expected]]
    np.testing.assert_allclose(
        encoder.encode(["bade"], role="query"), encoder.st.encode(["bade"], prompt_name="query"), atol=1e-6
    )


COMBINATIONS: list[dict[str, Any]] = [
    {"template": {}, "max_length": 6},
    {"template": {"clean": "promptEOL", "demonstrations": [{"text": "bade.", "word": "Defi"}]}},
    {"template": {"text": "{text} =>"}, "normalize": True},
    {"template": {}, "lora": {"r": 2}, "max_length": 6},
]


@pytest.mark.dist
def test_saved_and_read_by_plain_sentence_transformers(load: Load, llama: Path, tmp_path: Path) -> None:
    expected: dict[Path, np.ndarray] = {}
    for number, options in enumerate(COMBINATIONS):
        if "lora" in options:
            pytest.importorskip("peft")
        encoder = load(llama, **options)
        folder = tmp_path / str(number)
        encoder.save(folder)
        expected[folder] = encoder.encode(TEXTS)
        again = load(folder)
        assert templates.words(again.st) == templates.words(encoder.st) > 0
        assert again.fingerprint() == encoder.fingerprint()
        np.testing.assert_allclose(again.encode(TEXTS), expected[folder], atol=1e-6)
        assert ids_of(again, TEXTS) == ids_of(encoder, TEXTS)
    fingerprints = {load(llama, template=o).fingerprint() for o in ({}, {"clean": "promptEOL"}, {"text": "{text} ="})}
    assert len(fingerprints | {load(llama).fingerprint()}) == 4
    for folder, got in encoded_elsewhere(expected, TEXTS).items():
        np.testing.assert_allclose(got, expected[folder], atol=2e-6)


def test_a_length_that_leaves_no_room(load: Load, llama: Path, tmp_path: Path) -> None:
    base = build("gpt2", tmp_path / "gpt2")  # 128 positions
    count = templates.words(load(llama, template={}).st)
    load(base, template={}, max_length=128 - count)
    with pytest.raises(RecipeError, match=f"its template takes {count}"):
        load(base, template={}, max_length=129 - count)


def test_a_model_with_a_chat_template_of_its_own(load: Load, llama: Path, tmp_path: Path) -> None:
    """An instruction model keeps its template until another is asked for."""
    encoder = load(llama)
    encoder.st[0].tokenizer.chat_template = "{% for m in messages %}user: {{ m['content'] }} bot:{% endfor %}"
    encoder.st[0].tokenizer.save_pretrained(llama.parent / "chat")
    encoder.st[0].model.save_pretrained(llama.parent / "chat")
    chat = load(llama.parent / "chat", template={})
    np.testing.assert_allclose(chat.encode(TEXTS), load(llama, template={}).encode(TEXTS), atol=1e-6)
    assert not templates.is_templated(load(llama.parent / "chat").st)


def with_tokenizer(base: Path, folder: Path, kind: str) -> Path:
    """The model with a tokenizer of another family, trained on a few texts; BOS before and EOS after every text."""
    import shutil

    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    shutil.copytree(base, folder)
    tokenizer = Tokenizer(models.BPE(byte_fallback=False))
    if kind == "byte-level":
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
    else:
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=kind)
        tokenizer.decoder = decoders.Metaspace(prepend_scheme=kind)
    special = ["<pad>", "<s>", "</s>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet() if kind == "byte-level" else list(map(chr, range(33, 127)))
    trainer = trainers.BpeTrainer(vocab_size=320, special_tokens=special, initial_alphabet=alphabet)
    texts = [*sentences(60, seed=2), *[BEFORE + "A dog runs." + AFTER] * 20, 'He said "yes."']
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 1), ("</s>", 2)]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", bos_token="<s>", eos_token="</s>", model_max_length=128
    ).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("kind", ["byte-level", "first", "always"])
def test_tokenizers_of_language_models(load: Load, llama: Path, tmp_path: Path, kind: str) -> None:
    """Byte-level (GPT-2, OPT, Qwen) and Metaspace (LLaMA, Mistral, Gemma) tokenizers, whose first word differs."""
    encoder = load(with_tokenizer(llama, tmp_path / kind, kind), template={}, max_length=9)
    tokenizer = encoder.st[0].tokenizer
    assert tokenizer("bade")["input_ids"][:: len(tokenizer("bade")["input_ids"]) - 1] == [1, 2]
    short = [text for text in [*TEXTS, "bade", "la me."] if len(tokenizer(text)["input_ids"]) <= 9]
    assert len(short) > 2
    for text, ids in zip(short, ids_of(encoder, short), strict=True):
        assert ids == [1, *tokenizer(BEFORE + text + AFTER, add_special_tokens=False)["input_ids"]]
    end = tokenizer(BEFORE + "x" + AFTER, add_special_tokens=False)["input_ids"][-4:]
    count = templates.words(encoder.st)
    for ids in ids_of(encoder, TEXTS):
        assert ids[0] == 1 and ids[-4:] == end and 2 not in ids and len(ids) <= count + 9
    encoder.save(tmp_path / "saved")
    again = load(tmp_path / "saved")
    assert ids_of(again, TEXTS) == ids_of(encoder, TEXTS)
    np.testing.assert_allclose(again.st.encode(TEXTS), encoder.encode(TEXTS), atol=5e-6)
