"""The formulas of memory against what torch really keeps."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import pytest
import torch
from transformers import BertConfig, BertModel

from embedkit.recipe.memory import LOGITS_BYTES, EncoderSize, activation_bytes, amount, rows_per_block
from embedkit.recipe.planning.facts import folder_facts


def bert(hidden: int, layers: int, heads: int, vocabulary: int = 500) -> BertModel:
    return BertModel(
        BertConfig(
            vocab_size=vocabulary,
            hidden_size=hidden,
            num_hidden_layers=layers,
            num_attention_heads=heads,
            intermediate_size=4 * hidden,
        ),
        add_pooling_layer=False,
    ).train()


def kept_bytes(model: torch.nn.Module, rows: int, length: int, precision: str) -> int:
    """Bytes of the distinct storages that autograd keeps, parameters left out."""
    parameters = {p.untyped_storage().data_ptr() for p in model.parameters()}
    found: dict[int, int] = {}
    alive = []

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in parameters:
            found[storage.data_ptr()] = storage.nbytes()
            alive.append(tensor)
        return tensor

    ids = torch.randint(5, 500, (rows, length))
    mask = torch.ones_like(ids)
    mask[0, -1] = 0
    half = torch.autocast("cpu", dtype=torch.bfloat16) if precision == "bf16" else contextlib.nullcontext()
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t), half:
        model(input_ids=ids, attention_mask=mask)
    return sum(found.values())


@pytest.mark.parametrize(
    ("hidden", "layers", "heads", "rows", "length", "precision"),
    [
        (64, 2, 2, 16, 32, "fp32"),
        (96, 4, 8, 4, 64, "fp32"),
        (96, 2, 4, 4, 200, "fp32"),
        (96, 2, 4, 64, 32, "bf16"),
        (96, 3, 4, 16, 128, "bf16"),
    ],
)
def test_activation_estimate_is_near_what_autograd_keeps(
    hidden: int, layers: int, heads: int, rows: int, length: int, precision: str
) -> None:
    measured = kept_bytes(bert(hidden, layers, heads), rows, length, precision)
    estimated = activation_bytes(rows * length, layers, hidden, heads, length, precision)
    assert estimated == pytest.approx(measured, rel=0.12)


@pytest.mark.parametrize(("precision", "kept"), [("bf16", 0), ("fp32", 1000 * 2 * 12 * 4 * 50)])
def test_kernels_of_a_gpu_keep_no_attention_matrix_in_bf16(precision: str, kept: int) -> None:
    size = (1000, 2, 64, 4)
    found = activation_bytes(*size, 50, precision, gpu=True)
    assert found - activation_bytes(*size, 0, precision) == kept


def test_logits_of_all_words_are_kept_once() -> None:
    """A masked language model under SpladePooling: what its encoder keeps, and a number for each token and word."""
    from sentence_transformers.sparse_encoder.modules import SpladePooling
    from transformers import BertForMaskedLM

    config = bert(64, 2, 2, vocabulary=4000).config
    model, pooling = BertForMaskedLM(config).train(), SpladePooling("max").train()

    class Sparse(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, **features: torch.Tensor) -> torch.Tensor:
            logits = model(**features).logits
            found: torch.Tensor = pooling({**features, "token_embeddings": logits})["sentence_embedding"]
            return found

    measured = kept_bytes(Sparse(), 8, 40, "fp32")
    assert activation_bytes(320, 2, 64, 2, 40, words=4000) == pytest.approx(measured, rel=0.12)


def test_sizes_and_parameters_of_a_saved_model(tmp_path: Path) -> None:
    model = bert(96, 3, 4)
    model.save_pretrained(tmp_path)
    size = folder_facts(tmp_path)
    assert size is not None
    assert (size.layers, size.hidden, size.heads, size.max_length, size.dim) == (3, 96, 4, 512, 96)
    assert size.parameters == sum(p.numel() for p in model.parameters())


def test_sizes_of_a_sentence_transformers_folder(tmp_path: Path) -> None:
    bert(96, 3, 4).save_pretrained(tmp_path / "0_Transformer")
    (tmp_path / "2_Dense").mkdir()
    (tmp_path / "2_Dense" / "config.json").write_text('{"in_features": 96, "out_features": 40}')
    (tmp_path / "0_Transformer" / "sentence_bert_config.json").write_text('{"max_seq_length": 128}')
    kinds = [("0_Transformer", "a.Transformer"), ("1_Pooling", "a.Pooling"), ("2_Dense", "a.Dense")]
    modules = [{"idx": i, "name": str(i), "path": path, "type": kind} for i, (path, kind) in enumerate(kinds)]
    (tmp_path / "modules.json").write_text(json.dumps(modules))
    size = folder_facts(tmp_path)
    assert size is not None
    assert (size.layers, size.max_length, size.dim) == (3, 128, 40)


def test_a_config_that_speaks_otherwise_is_unknown() -> None:
    assert EncoderSize.of({"n_layer": 2}) is None


def test_block_rows_stay_within_the_bound() -> None:
    for columns in (10, 1000, 123_456):
        rows = rows_per_block(columns)
        assert rows * columns * 4 * 4 <= LOGITS_BYTES < (rows + 1) * columns * 4 * 4
    assert rows_per_block(10**9) == 1


def test_amounts() -> None:
    assert [amount(n) for n in (0, 900, 1536, 20 * 2**20, 3 * 2**29, 2**40)] == [
        "0 B",
        "900 B",
        "1.5 KiB",
        "20 MiB",
        "1.5 GiB",
        "1024.0 GiB",
    ]
