"""An attention that refuses float32 as flash attention's kernels do, and computes on the CPU."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from embedkit.model.running.encoder import Encoder

NAME = "flash_stand_in"


def attention(module: Any, query: Tensor, key: Tensor, value: Tensor, *args: Any, **kwargs: Any) -> Any:
    """transformers chooses the precision that it would hand to flash attention; float32 is refused."""
    from transformers.integrations.flash_attention import get_target_dtype
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    dtype = get_target_dtype(query, module) or query.dtype
    if dtype not in (torch.float16, torch.bfloat16):
        raise RuntimeError("FlashAttention only support fp16 and bf16 data type")
    return sdpa_attention_forward(module, query.to(dtype), key.to(dtype), value.to(dtype), *args, **kwargs)


def use(encoder: Encoder) -> Encoder:
    """Give a loaded encoder that attention, as on a GPU: rows are padded."""
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import sdpa_mask

    AttentionInterface.register(NAME, attention)
    AttentionMaskInterface.register(NAME, sdpa_mask)
    backbone: Any = encoder.st[0].auto_model
    backbone.config._attn_implementation = NAME
    encoder.module.packs = False
    return encoder
