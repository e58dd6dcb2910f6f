"""What is whole is never refused: architectures, layouts of weights, gaps that do not matter."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from embedkit.errors import RecipeError
from embedkit.model.running.encoder import Encoder
from embedkit.recipe.schema import Model
from tests.device import DEVICE
from tests.model import damaged
from tests.model.architectures import DECODERS, FAMILIES, build
from tests.tiny import tiny_bert

TEXTS = ["bade fi go", "ku"]
Change = Callable[[Path], Any]


def embed(folder: Path, **options: Any) -> np.ndarray:
    return Encoder.load(Model.model_validate({"base": str(folder), **options}), device=DEVICE).encode(TEXTS)


def plain(folder: Path) -> np.ndarray:
    from sentence_transformers import SentenceTransformer

    return np.asarray(SentenceTransformer(str(folder), device=DEVICE).encode(TEXTS))


@pytest.mark.parametrize("family", [*FAMILIES, *DECODERS])
def test_families(family: str, tmp_path: Path) -> None:
    folder = build(family, tmp_path)
    np.testing.assert_allclose(embed(folder), plain(folder), atol=1e-5)


HEADS = ["BertForMaskedLM", "BertForSequenceClassification", "BertForPreTraining", "BertLMHeadModel"]


@pytest.mark.parametrize("head", HEADS)
def test_a_checkpoint_of_a_head_gives_its_backbone(head: str, tmp_path: Path) -> None:
    """Prefixed names, a head that nobody uses, and in some of them no pooler."""
    import transformers

    tiny_bert(tmp_path)
    config = transformers.AutoConfig.from_pretrained(tmp_path, is_decoder=head == "BertLMHeadModel")
    with torch.random.fork_rng(devices=[]):
        model = getattr(transformers, head)(config)
    model.save_pretrained(tmp_path)
    names = set(load_file(tmp_path / "model.safetensors"))
    assert all(name.startswith(("bert.", "cls.", "classifier.")) for name in names)
    np.testing.assert_allclose(embed(tmp_path), plain(tmp_path), atol=1e-5)


def pickle_it(folder: Path) -> None:
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


def pickle_it_the_old_way(folder: Path) -> None:
    state = load_file(folder / "model.safetensors")
    torch.save(state, folder / "pytorch_model.bin", _use_new_zipfile_serialization=False)
    (folder / "model.safetensors").unlink()


def shard(folder: Path) -> None:
    from transformers import AutoModel

    AutoModel.from_pretrained(folder).save_pretrained(folder, max_shard_size="20KB")
    assert len(list(folder.glob("model-*.safetensors"))) > 2
    (folder / "model.safetensors").unlink(missing_ok=True)


def shard_pickles(folder: Path) -> None:
    state = load_file(folder / "model.safetensors")
    names = sorted(state)
    files = {name: f"pytorch_model-0000{1 + i % 2}-of-00002.bin" for i, name in enumerate(names)}
    for file in set(files.values()):
        torch.save({name: state[name] for name in names if files[name] == file}, folder / file)
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps({"metadata": {}, "weight_map": files}))
    (folder / "model.safetensors").unlink()


def half(dtype: torch.dtype) -> Change:
    return damaged.both(
        damaged.tensors(lambda state: {k: v.to(dtype) for k, v in state.items()}),
        damaged.field("config.json", dtype=str(dtype).removeprefix("torch.")),
    )


def old_names(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """LayerNorm's parameters as TensorFlow called them, and a buffer that is none any more."""
    found = {
        k.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): v
        for k, v in state.items()
    }
    return {**found, "embeddings.position_ids": torch.arange(64)[None]}


LAYOUTS: dict[str, tuple[Change, float]] = {
    "a pickle of tensors": (pickle_it, 0),
    "an old pickle of tensors": (pickle_it_the_old_way, 0),
    "shards": (shard, 0),
    "shards of pickles": (shard_pickles, 0),
    "float16": (half(torch.float16), 5e-3),
    "bfloat16": (half(torch.bfloat16), 5e-2),
    "a prefix that the architecture knows": (
        damaged.tensors(lambda state: {f"bert.{k}": v for k, v in state.items()}),
        0,
    ),
    "names of old": (damaged.tensors(old_names), 0),
    "no pooler": (damaged.tensors(lambda state: {k: v for k, v in state.items() if "pooler" not in k}), 0),
    "an unused head": (damaged.tensors(lambda state: {**state, "head.weight": torch.ones(3, 3)}), 0),
    "fast tokenizer alone": (lambda folder: (folder / "vocab.txt").unlink(missing_ok=True), 0),
    "no settings of the tokenizer": (damaged.without("tokenizer_config.json"), 0),
    "rows to spare": (
        damaged.both(
            damaged.tensors(lambda state: {k: torch.cat([v, v[:6]]) if "word" in k else v for k, v in state.items()}),
            damaged.field("config.json", vocab_size=328),
        ),
        0,
    ),
    "no weights of the other libraries": (damaged.text("tf_model.h5", damaged.POINTER), 0),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts_of_one_model_give_its_embeddings(layout: str, tmp_path: Path) -> None:
    folder = tiny_bert(tmp_path)
    want = embed(folder)
    change, tolerance = LAYOUTS[layout]
    change(folder)
    np.testing.assert_allclose(embed(folder), want, atol=tolerance + 1e-6)


def test_a_vocabulary_file_alone(tmp_path: Path) -> None:
    from tests.tiny import vocabulary

    folder = tiny_bert(tmp_path)
    want = embed(folder)
    (folder / "tokenizer.json").unlink()
    (folder / "vocab.txt").write_text("\n".join(vocabulary()) + "\n", encoding="utf-8")
    np.testing.assert_allclose(embed(folder), want, atol=1e-6)


def test_a_pooler_that_is_read_must_be_there(tmp_path: Path) -> None:
    """Nobody reads it in the tests above; here the sentence embedding is its output."""
    folder = damaged.sound(tmp_path / "sound")
    shutil.rmtree(folder / "1_Pooling")
    entries = [e for e in json.loads((folder / "modules.json").read_text()) if "Pooling" not in e["type"]]
    (folder / "modules.json").write_text(json.dumps(entries))
    settings = {"modality_config": {"text": {"method": "forward", "method_output_name": "pooler_output"}}}
    damaged.field("sentence_bert_config.json", module_output_name="sentence_embedding", **settings)(folder)
    assert embed(folder).shape == (2, damaged.DENSE)
    damaged.tensors(lambda state: {k: v for k, v in state.items() if "pooler" not in k})(folder)
    with pytest.raises(RecipeError, match=r"2 of 39 tensors of BertModel.*pooler\.dense\.bias, pooler\.dense\.weight"):
        embed(folder)


def test_old_folders_keep_the_transformer_in_one_of_its_own(tmp_path: Path) -> None:
    folder = damaged.sound(tmp_path / "sound")
    want = embed(folder)
    inner = folder / "0_Transformer"
    inner.mkdir()
    for path in list(folder.iterdir()):
        if path.is_file() and path.name not in ("modules.json", "config_sentence_transformers.json"):
            path.rename(inner / path.name)
    damaged.entry(0, path="0_Transformer", type="sentence_transformers.models.Transformer")(folder)
    damaged.entry(1, type="sentence_transformers.models.Pooling")(folder)
    np.testing.assert_allclose(embed(folder), want, atol=1e-6)
    damaged.tensors(lambda state: {f"model.{k}": v for k, v in state.items()}, "0_Transformer")(folder)
    with pytest.raises(RecipeError, match="are not in the weights"):
        embed(folder)


def test_layers_pooled_with_weights(tmp_path: Path) -> None:
    encoder = Encoder.load(Model(base=str(tiny_bert(tmp_path / "base")), pooling="first_last_mean"), device=DEVICE)
    encoder.save(tmp_path / "saved")
    np.testing.assert_allclose(embed(tmp_path / "saved"), encoder.encode(TEXTS), atol=1e-6)


def test_embeddings_that_are_cut_short(tmp_path: Path) -> None:
    folder = damaged.sound(tmp_path / "sound")
    whole = embed(folder)
    damaged.field("config_sentence_transformers.json", truncate_dim=8)(folder)
    np.testing.assert_allclose(embed(folder), whole[:, :8], atol=1e-6)


def test_a_static_embedding(tmp_path: Path) -> None:
    """There is no transformer in it to be checked, and all the same it is read."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny_bert(tmp_path / "base"))
    static = StaticEmbedding(tokenizer, embedding_dim=16)
    st = SentenceTransformer(modules=[static], device=DEVICE)
    st.save(str(tmp_path / "saved"), create_model_card=False)
    np.testing.assert_allclose(embed(tmp_path / "saved"), st.encode(TEXTS), atol=1e-6)


def adapted(tmp_path: Path) -> tuple[Path, Path, np.ndarray]:
    """A base, a folder of adapters on it, and the embeddings that both give together."""
    base = tiny_bert(tmp_path / "base")
    encoder = Encoder.load(Model.model_validate({"base": str(base), "lora": {"r": 2}}), device=DEVICE)
    with torch.no_grad():
        for name, parameter in encoder.st.named_parameters():
            if "lora_B" in name:
                parameter.normal_(0, 0.5, generator=torch.Generator().manual_seed(len(name)))
    encoder.save(tmp_path / "adapters", merge=False)
    return base, tmp_path / "adapters", encoder.encode(TEXTS)


def test_adapters_and_their_base(tmp_path: Path) -> None:
    base, folder, want = adapted(tmp_path)
    assert (folder / "adapter_model.safetensors").is_file() and not (folder / "model.safetensors").exists()
    assert np.abs(want - embed(base)).max() > 0.1
    np.testing.assert_allclose(embed(folder), want, atol=1e-5)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            lambda base, folder: rename(base / "model.safetensors"),
            "37 of 63 tensors of BertModel are not in the weights",
        ),
        (lambda base, folder: rename(folder / "adapter_model.safetensors"), "24 of 24 adapters in"),
        (lambda base, folder: halve(folder / "adapter_model.safetensors"), "12 of 24 adapters in"),
        (lambda base, folder: damaged.text("adapter_model.safetensors", damaged.POINTER)(folder), "Git LFS pointer"),
        (lambda base, folder: damaged.text("model.safetensors", damaged.POINTER)(base), "Git LFS pointer"),
        (lambda base, folder: damaged.text("adapter_config.json", "{}")(folder), "base_model_name_or_path"),
        (lambda base, folder: shutil.rmtree(base), "there is no folder"),
        (lambda base, folder: pickled(folder), "hold more than tensors"),
    ],
    ids=["base", "adapters", "half", "pointer", "pointer of base", "settings", "no base", "pickle"],
)
def test_adapters_without_their_base(change: Callable[[Path, Path], Any], words: str, tmp_path: Path) -> None:
    base, folder, _ = adapted(tmp_path)
    change(base, folder)
    with pytest.raises(RecipeError) as caught:
        embed(folder)
    assert words in str(caught.value) and "weights_only" not in str(caught.value)


def rename(path: Path) -> None:
    save_file({f"other.{k}": v for k, v in load_file(path).items()}, path, {"format": "pt"})


def pickled(folder: Path) -> None:
    path = folder / "adapter_model.safetensors"
    torch.save({**load_file(path), "more": damaged.Foreign()}, folder / "adapter_model.bin")
    path.unlink()


def halve(path: Path) -> None:
    state = load_file(path)
    save_file({k: state[k] for k in sorted(state)[: len(state) // 2]}, path, {"format": "pt"})
