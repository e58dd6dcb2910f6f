"""A content hash of a model: equal for equal embeddings, whatever its name or folder."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

import torch

from embedkit.model.reading import static
from embedkit.model.reading.structure import kept_length

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer


def fingerprint(st: SentenceTransformer) -> str:
    """SHA-256 over the weights (sorted by name) and the settings that change an embedding.

    Dropout, attention implementation, versions and the model card are left out.
    """
    digest = hashlib.sha256(json.dumps(settings(st), sort_keys=True).encode())
    for name, tensor in sorted(st.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(memoryview(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy()))
    return digest.hexdigest()


def settings(st: SentenceTransformer) -> dict[str, Any]:
    """Modules and their options, prompts, length and tokenizer, as plain data."""
    first: Any = st[0]
    tokenizer = first.tokenizer
    plain = static.is_static(st)
    backend = json.loads((tokenizer if plain else tokenizer.backend_tokenizer).to_str())
    for volatile in ("truncation", "padding"):  # left over from the last call
        backend.pop(volatile, None)
    found = {
        "modules": [_module(module) for module in st],
        "prompts": {name: prompt for name, prompt in st.prompts.items() if prompt},
        "default_prompt": st.default_prompt_name,
        "max_length": kept_length(st),
        "truncate_dim": getattr(st, "truncate_dim", None),
        "tokenizer": hashlib.sha256(json.dumps(backend, sort_keys=True).encode()).hexdigest(),
        "padding_side": "" if plain else tokenizer.padding_side,
    }
    if not plain and "message" in first.modality_config:
        found["template"] = tokenizer.chat_template
    if hasattr(st, "activation_fn"):  # of a cross-encoder
        found["activation"] = type(st.activation_fn).__name__
    if not plain and getattr(first.config, "is_causal", None) is False:
        found["is_causal"] = False
    return found


def _module(module: Any) -> dict[str, Any]:
    options = module.get_config_dict() if hasattr(module, "get_config_dict") else {}
    return {"type": type(module).__name__, "options": json.loads(json.dumps(options, sort_keys=True, default=str))}
