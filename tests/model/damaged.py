"""Damaged copies of a sentence-transformers folder, each with what its error must say."""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from tests.tiny import tiny_bert

DENSE = 24
"""Dimensions of the sound model's embeddings."""
POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:" + "0" * 64 + "\nsize 90864192\n"

Damage = Callable[[Path], None]


def sound(path: Path) -> Path:
    """A tiny BERT with mean pooling, a dense layer and a closing Normalize, as sentence-transformers saves it."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Dense, Normalize, Pooling, Transformer

    tiny_bert(path / "plain")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        dense = Dense(32, DENSE)
    modules = [Transformer(str(path / "plain")), Pooling(32, "mean"), dense, Normalize()]
    st = SentenceTransformer(modules=modules, device="cpu")
    st.save(str(path / "model"), create_model_card=False)
    return path / "model"


def text(name: str, content: str) -> Damage:
    """The file holds `content`."""
    return lambda folder: bool((folder / name).write_text(content, encoding="utf-8")) and None


def data(name: str, content: bytes) -> Damage:
    """The file holds these bytes."""
    return lambda folder: bool((folder / name).write_bytes(content)) and None


def without(*names: str) -> Damage:
    """The files are gone."""

    def change(folder: Path) -> None:
        for name in names:
            (folder / name).unlink()

    return change


def cut(name: str, size: int) -> Damage:
    """The file ends early."""
    return lambda folder: bool((folder / name).write_bytes((folder / name).read_bytes()[:size])) and None


def field(name: str, **values: Any) -> Damage:
    """Fields of a JSON object are replaced."""

    def change(folder: Path) -> None:
        path = folder / name
        path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | values), encoding="utf-8")

    return change


def entry(number: int, *removed: str, **values: Any) -> Damage:
    """An entry of modules.json is changed."""

    def change(folder: Path) -> None:
        path = folder / "modules.json"
        entries = json.loads(path.read_text(encoding="utf-8"))
        entries[number] = {k: v for k, v in entries[number].items() if k not in removed} | values
        path.write_text(json.dumps(entries), encoding="utf-8")

    return change


def one_token_moved(folder: Path) -> None:
    """As many tokens as rows, but the last number is beyond them."""
    path = folder / "tokenizer.json"
    found = json.loads(path.read_text())
    vocabulary = found["model"]["vocab"]
    vocabulary[max(vocabulary, key=vocabulary.get)] = 400
    path.write_text(json.dumps(found))


def tensors(change: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]], name: str = "") -> Damage:
    """The weights hold other tensors."""

    def apply(folder: Path) -> None:
        path = folder / name / "model.safetensors"
        save_file({k: v.contiguous().clone() for k, v in change(load_file(path)).items()}, path, {"format": "pt"})

    return apply


def link(name: str, to: str) -> Damage:
    """The file is a symbolic link."""

    def change(folder: Path) -> None:
        (folder / name).unlink()
        (folder / name).symlink_to(to)

    return change


def folder(name: str) -> Damage:
    """The file is a folder."""

    def change(path: Path) -> None:
        (path / name).unlink()
        (path / name).mkdir()

    return change


def pipe(name: str) -> Damage:
    """The file is a named pipe that nobody writes to."""

    def change(folder: Path) -> None:
        (folder / name).unlink()
        os.mkfifo(folder / name)

    return change


def both(*damages: Damage) -> Damage:
    """Several damages."""

    def change(folder: Path) -> None:
        for damage in damages:
            damage(folder)

    return change


class Foreign:
    """What a pickle may ask for."""

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return print, ("foreign code ran",)


def pickled(content: Any, **options: Any) -> Damage:
    """The weights are a pickle."""

    def change(folder: Path) -> None:
        (folder / "model.safetensors").unlink()
        torch.save(content, folder / "pytorch_model.bin", **options)

    return change


def more_tokens(folder: Path) -> None:
    """Two tokens are added, and the table keeps its rows."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_tokens(["<sku>", "<price>"])
    tokenizer.save_pretrained(folder)


TOKENIZER = ("tokenizer.json", "tokenizer_config.json")
WEIGHTS, MODULES, CONFIG, SETTINGS = (
    "model.safetensors",
    "modules.json",
    "config.json",
    "config_sentence_transformers.json",
)
HUGE = struct.pack("<Q", 2**60) + b" " * 50

OF_SMALL_FILES: dict[str, tuple[Damage, tuple[str, ...]]] = {
    "modules is a list of a number": (text(MODULES, "[1]"), (MODULES, "entry 0", "found 1")),
    "modules is an object": (text(MODULES, "{}"), (MODULES, "a list is expected, found {}")),
    "modules is null": (text(MODULES, "null"), (MODULES, "a list is expected, found null")),
    "modules is empty": (text(MODULES, "[]"), (MODULES, "lists no modules")),
    "modules is no file": (text(MODULES, ""), (MODULES, "it is empty")),
    "modules is cut": (cut(MODULES, 40), (MODULES, "no JSON (40 bytes)")),
    "modules is deep": (text(MODULES, "[" * 100_000), (MODULES, "no JSON")),
    "modules is Latin": (data(MODULES, '["ü"]'.encode("latin-1")), (MODULES, "no JSON")),
    "a module without type": (entry(1, "type"), (MODULES, "entry 1 has no `type`")),
    "a module without path": (entry(0, "path"), (MODULES, "entry 0 has no `path`")),
    "a module without name": (entry(2, "name"), (MODULES, "entry 2 has no `name`")),
    "a type that is a number": (entry(1, type=5), (MODULES, "entry 1, `type`: text is expected, found 5")),
    "a path upwards": (entry(1, path="../1_Pooling"), (MODULES, "leads out of the model's folder")),
    "a path from the root": (entry(1, path="/etc"), (MODULES, "leads out of the model's folder")),
    "two modules of one name": (entry(1, name="0"), (MODULES, "two modules are called '0'")),
    "a class that nobody has": (
        entry(1, type="sentence_transformers.models.Nothing"),
        ("does not load", "Nothing"),
    ),
    "config is null": (text(CONFIG, "null"), (CONFIG, "an object is expected, found null")),
    "config is a list": (text(CONFIG, "[]"), (CONFIG, "an object is expected, found []")),
    "config is cut": (cut(CONFIG, 30), (CONFIG, "no JSON (30 bytes)")),
    "config is a pointer": (text(CONFIG, POINTER), (CONFIG, "Git LFS pointer")),
    "a negative vocabulary": (field(CONFIG, vocab_size=-5), (CONFIG, "vocab_size", "at least 1", "found -5")),
    "no heads": (field(CONFIG, num_attention_heads=0), (CONFIG, "num_attention_heads", "found 0")),
    "hidden size is text": (field(CONFIG, hidden_size="32"), (CONFIG, "hidden_size", '"32"')),
    "hidden size is a float": (field(CONFIG, hidden_size=1e9), (CONFIG, "hidden_size", "1000000000.0")),
    "hidden size is true": (field(CONFIG, hidden_size=True), (CONFIG, "hidden_size", "true")),
    "positions are text": (field(CONFIG, max_position_embeddings="x"), (CONFIG, "max_position_embeddings", '"x"')),
    "settings are a list": (text(SETTINGS, "[]"), (SETTINGS, "an object is expected, found []")),
    "prompts are a list": (field(SETTINGS, prompts=["query: "]), (SETTINGS, "prompts", "an object is expected")),
    "a prompt is a number": (field(SETTINGS, prompts={"query": 7}), (SETTINGS, "'query'", "found 7")),
    "a default prompt that is not there": (
        field(SETTINGS, prompts={"a": "b"}, default_prompt_name="nothing"),
        (SETTINGS, "default_prompt_name", "'nothing'", "only a"),
    ),
    "a similarity that is none": (field(SETTINGS, similarity_fn_name="cos"), (SETTINGS, '"cos" is none of cosine')),
    "a similarity that is a list": (field(SETTINGS, similarity_fn_name=["dot"]), (SETTINGS, "similarity_fn_name")),
    "a length below one": (
        field("sentence_bert_config.json", max_seq_length=-5),
        ("sentence_bert_config.json", "max_seq_length", "found -5"),
    ),
    "modules is a link to nothing": (link(MODULES, "nowhere"), (MODULES, "a link to nowhere, which is not there")),
    "modules is a link to itself": (link(MODULES, MODULES), (MODULES, f"a link to {MODULES}, which is not there")),
    "modules is a folder": (folder(MODULES), (MODULES, "a folder, where a file belongs")),
    "modules is a pipe": (pipe(MODULES), (MODULES, "no regular file")),
    "settings are a link to nothing": (link(SETTINGS, "nowhere"), (SETTINGS, "a link to nowhere")),
    "tokenizer settings are null": (text(TOKENIZER[1], "null"), (TOKENIZER[1], "an object is expected, found null")),
    "a tokenizer that cuts at nothing": (field(TOKENIZER[1], model_max_length=0), (TOKENIZER[1], "found 0")),
    "a tokenizer that cuts at a text": (field(TOKENIZER[1], model_max_length="long"), (TOKENIZER[1], 'found "long"')),
    "more layers than anybody builds": (field(CONFIG, num_hidden_layers=10**9), (CONFIG, "num_hidden_layers", "1,000")),
    "transformer settings are null": (text("sentence_bert_config.json", "null"), ("sentence_bert_config.json", "null")),
}
"""What `check` without --sample sees too."""

OF_FOLDERS: dict[str, tuple[Damage, tuple[str, ...]]] = {
    "no pooling settings": (without("1_Pooling/config.json"), ("1_Pooling/config.json", "Pooling")),
    "pooling settings are a list": (text("1_Pooling/config.json", "[]"), ("1_Pooling/config.json", "an object")),
    "no mode of pooling": (
        field("1_Pooling/config.json", pooling_mode=None, pooling_mode_mean_tokens=False, pooling_mode_cls_token=False),
        ("1_Pooling/config.json", "none of its pooling modes is true"),
    ),
    "whole numbers without their scales": (
        tensors(lambda state: {k: (v * 50).to(torch.int8) if "query.weight" in k else v for k, v in state.items()}),
        ("2 tensors", "encoder.layer.0.attention.self.query.weight", "no quantization_config"),
    ),
    "whole numbers of a kind that nobody knows": (
        both(
            tensors(lambda state: {k: (v * 50).to(torch.int8) if "query.weight" in k else v for k, v in state.items()}),
            field(CONFIG, quantization_config={"quant_method": "nothing"}),
        ),
        ("2 tensors", "a quantization_config that transformers does not know"),
    ),
    "no dense weights": (without("2_Dense/model.safetensors"), ("no weights in 2_Dense",)),
    "a foreign activation": (
        field("2_Dense/config.json", activation_function="os.system"),
        ("2_Dense/config.json", "activation_function 'os.system'"),
    ),
    "kernels from elsewhere": (
        field("sentence_bert_config.json", model_args={"attn_implementation": "someone/kernel"}),
        ("kernels from elsewhere", "model_args"),
    ),
    "no weights": (without(WEIGHTS), ("there are no weights: none of model.safetensors",)),
    "weights of another library": (
        both(without(WEIGHTS), text("tf_model.h5", "x")),
        ("no weights", "tf_model.h5 is for another library"),
    ),
    "weights are a pointer": (text(WEIGHTS, POINTER), (WEIGHTS, "Git LFS pointer", f"({len(POINTER)} bytes)")),
    "weights are empty": (text(WEIGHTS, ""), (WEIGHTS, "it is empty")),
    "weights are cut": (cut(WEIGHTS, 20_000), (WEIGHTS, "no whole safetensors file (20,000 bytes)")),
    "a header of 2^60 bytes": (data(WEIGHTS, HUGE), (WEIGHTS, "header too large")),
    "weights are a web page": (text(WEIGHTS, "<!DOCTYPE html>" + " " * 200), (WEIGHTS, "no whole safetensors file")),
    "dense weights are a pointer": (
        text("2_Dense/model.safetensors", POINTER),
        ("2_Dense/model.safetensors", "Git LFS pointer"),
    ),
    "a pickle that is a pointer": (
        both(without(WEIGHTS), text("pytorch_model.bin", POINTER)),
        ("pytorch_model.bin", "Git LFS pointer"),
    ),
    "a pickle that is cut": (
        both(pickled({"a": torch.zeros(5000)}), cut("pytorch_model.bin", 3000)),
        ("pytorch_model.bin", "cut short", "3,000 bytes"),
    ),
    "a pickle that is text": (
        both(without(WEIGHTS), text("pytorch_model.bin", "hello")),
        ("pytorch_model.bin", "no file of torch.save"),
    ),
    "an index of nothing": (
        both(without(WEIGHTS), text("model.safetensors.index.json", "{}")),
        ("model.safetensors.index.json", "weight_map"),
    ),
    "a shard is missing": (
        both(
            without(WEIGHTS), text("model.safetensors.index.json", '{"weight_map": {"a": "model-1-of-2.safetensors"}}')
        ),
        ("model.safetensors.index.json", "model-1-of-2.safetensors is not there"),
    ),
    "a shard elsewhere": (
        both(without(WEIGHTS), text("model.safetensors.index.json", '{"weight_map": {"a": "../m.safetensors"}}')),
        ("model.safetensors.index.json", "'../m.safetensors'"),
    ),
    "a hidden size beyond all": (
        field(CONFIG, hidden_size=10**9),
        (CONFIG, "hidden_size: 1,000,000,000", "no tensor of model.safetensors"),
    ),
    "a tokenizer that is a pointer": (text("tokenizer.json", POINTER), ("tokenizer.json", "Git LFS pointer")),
}
"""What looking over a folder sees, before anything is loaded."""

OF_LOADED: dict[str, tuple[Damage, tuple[str, ...]]] = {
    "another prefix": (
        tensors(lambda state: {f"model.{k}": v for k, v in state.items()}),
        ("tensors of BertModel are not in the weights", "embeddings.LayerNorm.bias", "model.embeddings.LayerNorm.bias"),
    ),
    "one layer is missing": (
        tensors(lambda state: {k: v for k, v in state.items() if "layer.1." not in k}),
        ("16 of 39 tensors of BertModel", "encoder.layer.1.attention"),
    ),
    "one bias is missing": (
        tensors(lambda state: {k: v for k, v in state.items() if k != "encoder.layer.0.output.dense.bias"}),
        ("1 of 39 tensors", "encoder.layer.0.output.dense.bias"),
    ),
    "the positions are missing": (
        tensors(lambda state: {k: v for k, v in state.items() if "position" not in k}),
        ("1 of 39 tensors", "embeddings.position_embeddings.weight"),
    ),
    "fewer layers than weights": (
        field(CONFIG, num_hidden_layers=1),
        ("16 tensors of layers beyond the 1", "encoder.layer.1."),
    ),
    "more layers than weights": (field(CONFIG, num_hidden_layers=3), ("16 of 55 tensors", "encoder.layer.2.")),
    "another vocabulary": (
        field(CONFIG, vocab_size=300),
        ("embeddings.word_embeddings.weight is [322, 32]", "[300, 32]"),
    ),
    "another hidden size": (
        field(CONFIG, hidden_size=64),
        ("embeddings.LayerNorm.bias is [32]", "[64] by its config.json", "and 36 tensors more"),
    ),
    "heads that do not divide": (field(CONFIG, num_attention_heads=5), ("does not load", "32")),
    "an architecture that nobody has": (field(CONFIG, model_type="nothing"), ("does not load", "nothing")),
    "not a number": (
        tensors(lambda state: {k: v * float("nan") if "word" in k else v for k, v in state.items()}),
        ("not finite", "NaN"),
    ),
    "no tokenizer": (without(*TOKENIZER), ("no vocabulary", "vocab.txt or tokenizer.json")),
    "a tokenizer that is no JSON": (text("tokenizer.json", "{"), ("does not load",)),
    "a tokenizer that is a list": (text("tokenizer.json", "[1]"), ("does not load",)),
    "more tokens than rows": (more_tokens, ("324 tokens", "322 rows", "'<sku>'")),
    "a token beyond the rows": (one_token_moved, ("401 tokens", "322 rows", "has none")),
    "a pickle of more than tensors": (
        pickled({"a": torch.zeros(2), "b": Foreign()}),
        ("hold more than tensors", "not loaded", "print"),
    ),
    "an old pickle of more than tensors": (
        pickled({"a": torch.zeros(2), "b": Foreign()}, _use_new_zipfile_serialization=False),
        ("hold more than tensors", "not loaded"),
    ),
    "a pooling of another size": (
        both(
            entry(2, type="sentence_transformers.models.Normalize", path="3_Normalize"),
            field("1_Pooling/config.json", embedding_dimension=16),
        ),
        ("embeddings of 32 numbers", "says 16"),
    ),
    "a dense of another input": (
        field("2_Dense/config.json", in_features=16),
        ("does not load", "linear.weight"),
    ),
    "a dense of another model": (
        both(
            field("2_Dense/config.json", in_features=16),
            tensors(lambda s: {k: v[:, :16] if v.ndim == 2 else v for k, v in s.items()}, "2_Dense"),
        ),
        ("Dense cannot take what the module before it gives",),
    ),
    "dense weights of other names": (
        tensors(lambda state: {f"x.{k}": v for k, v in state.items()}, "2_Dense"),
        ("does not load", "linear.weight"),
    ),
}
"""What only a loaded model tells."""

ALL = {**OF_SMALL_FILES, **OF_FOLDERS, **OF_LOADED}
