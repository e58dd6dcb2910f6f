"""A language model that writes about a text first and reads both as the embedding (GRACE, arXiv 2510.04506).

The language model is the backbone itself with the head that its architecture ties to the token table, so nothing but
the backbone is saved. A saved folder names the class below: `SentenceTransformer(path, trust_remote_code=True)` loads
it where embedkit is installed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from sentence_transformers.base.modules import Transformer
from torch import Tensor, nn

from embedkit.errors import RecipeError
from embedkit.model.changing.bidirectional import sees_later_tokens
from embedkit.model.changing.wrapped import as_class
from embedkit.model.reading import templates
from embedkit.model.reading.seeding import seeded

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer
    from transformers import LogitsProcessor

    from embedkit.recipe.model import Rationale

SAVED_AS = "embedkit.model.changing.rationale.RationaleTransformer"
"""What a saved folder's modules.json calls the class below."""
WRITTEN = "rationale_written"
"""Feature of rows whose rationale stands behind them already."""
WHERE = "model.rationale"
CURE = "use a LLaMA, Qwen, Gemma or OPT model whose head is tied to its token table (tie_word_embeddings)"
_PER_TOKEN = ("token_type_ids", "position_ids")


class RationaleTransformer(Transformer):
    """A causal language model that writes at most `tokens` tokens behind its input, the likeliest each time.

    Pooling then sees the states of everything behind the first `before` tokens: the text, the words of the template
    after it and the rationale, its end token included. While the module trains nothing is written.

    Args:
        model_name_or_path: as `Transformer`.
        rationale: ``tokens``, and ``before``, the tokens in front of every text.

    Attributes:
        tokens: written at most; 0 writes nothing.
        before: tokens that are not pooled.
    """

    config_keys: ClassVar[list[str]] = [*Transformer.config_keys, "rationale"]

    def __init__(self, model_name_or_path: str, *, rationale: dict[str, int], **kwargs: Any) -> None:
        super().__init__(model_name_or_path, **kwargs)
        self._attach(**rationale)

    @classmethod
    def around(cls, transformer: Transformer, tokens: int, before: int) -> RationaleTransformer:
        """The same transformer; its parts are shared."""
        wrapped = as_class(cls, transformer)
        wrapped._attach(tokens, before)
        return wrapped

    def _attach(self, tokens: int, before: int) -> None:
        self.tokens, self.before = tokens, before
        self._writer: tuple[Any, ...] = ()

    @property
    def rationale(self) -> dict[str, int]:
        """Settings, as they are saved."""
        return {"tokens": self.tokens, "before": self.before}

    @property
    def tokens_written(self) -> int:
        """Positions that the rationale may take."""
        return self.tokens

    @property
    def language_model(self) -> Any:
        """The backbone under its language-model head; no submodule, because all its weights are the backbone's.

        Raises:
            RecipeError: the architecture has no head of that kind.
        """
        if not self._writer or getattr(self._writer[0], self._writer[0].base_model_prefix) is not self.model:
            self._writer = (_language_model(self.model),)
        return self._writer[0]

    @property
    def ends(self) -> list[int]:
        """Tokens that end a rationale: the tokenizer's and the configuration's."""
        given = getattr(self.config, "eos_token_id", None)
        found = given if isinstance(given, list) else [given]
        return sorted({int(token) for token in [*found, self.tokenizer.eos_token_id] if token is not None})

    def _can_flatten_inputs(self) -> bool:
        return False

    def forward(self, features: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        """[r, t] tokens -> states [r, t + rationale, d], with the mask of what is pooled."""
        written = features.pop(WRITTEN, False)
        ids, mask = features["input_ids"], features.get("attention_mask")
        mask = torch.ones_like(ids) if mask is None else mask
        if self.tokens and not written and not self.training:
            ids, mask = self.write(ids, mask)
            for name in _PER_TOKEN:
                features.pop(name, None)
        features |= {"input_ids": ids, "attention_mask": mask}
        features = super().forward(features, **kwargs)
        features["attention_mask"] = mask * (mask.cumsum(1) > self.before)
        return features

    @torch.no_grad()
    def write(self, ids: Tensor, mask: Tensor, processors: Sequence[LogitsProcessor] = ()) -> tuple[Tensor, Tensor]:
        """Rows with their rationales behind them.

        Args:
            ids: [r, t], padded on the left.
            mask: [r, t] 1 for tokens, 0 for padding.
            processors: change the logits before the largest is taken.

        Returns:
            ids and mask [r, t + k] with k at most `tokens`; what follows an end token is padding.
        """
        from transformers import GenerationConfig, LogitsProcessorList

        ends = self.ends
        config = GenerationConfig(
            do_sample=False,
            use_cache=True,  # a backbone that is trained has it off
            max_new_tokens=self.tokens,
            eos_token_id=ends,
            pad_token_id=self.tokenizer.pad_token_id,
        )
        out = self.language_model.generate(
            input_ids=ids,
            attention_mask=mask,
            generation_config=config,
            logits_processor=LogitsProcessorList(list(processors)),
        )
        ended = torch.isin(out[:, ids.shape[1] :], torch.tensor(ends, device=out.device)).long()
        return out, torch.cat([mask, (ended.cumsum(1) - ended == 0).to(mask.dtype)], dim=1)


def add_rationale(st: SentenceTransformer, config: Rationale) -> RationaleTransformer:
    """The first module of `st`, writing before it is read.

    Args:
        st: the model, with its template; not changed.
        config: how much is written.

    Raises:
        RecipeError: there is no template to ask for a rationale, or the model cannot write: it is no causal language
            model, its head is a matrix of its own, it has no end token, or rows cannot be padded on the left.
    """
    first: Any = st[0]
    if not templates.is_templated(st):
        what = "a rationale is asked for by the words around a text, and the model has no template"
        raise RecipeError(what, "model.template", "add model.template with a text that asks for it")
    before = templates.before_text(st)
    if isinstance(first, RationaleTransformer):
        first._attach(config.tokens, before)
        return first
    _check(first)
    return RationaleTransformer.around(first, config.tokens, before)


def _check(first: Any) -> None:
    backbone, name = first.model, type(first.model).__name__
    if sees_later_tokens(backbone):
        raise RecipeError(f"{name} attends in both directions, so it cannot write", WHERE, CURE)
    if first.tokenizer.padding_side != "left":
        raise RecipeError(f"{name} counts positions from the padding, so rows cannot be continued", WHERE, CURE)
    _language_model(backbone)
    if not RationaleTransformer.around(first, 0, 0).ends:
        raise RecipeError(f"{name} has no end token", WHERE, "set eos_token_id in its config.json")


def _language_model(backbone: Any) -> Any:
    """The architecture's ``...ForCausalLM`` around a backbone, its head the token table."""
    from transformers import AutoModelForCausalLM

    name = type(backbone).__name__
    tied = bool(getattr(backbone.config.get_text_config(), "tie_word_embeddings", False))
    try:
        with seeded(0), torch.device("meta"):
            model = AutoModelForCausalLM.from_config(backbone.config)
    except ValueError as error:
        raise RecipeError(f"transformers has no causal language model of {name}", WHERE, CURE) from error
    if not tied:
        raise RecipeError(
            f"the head of {name} is a matrix of its own, which an embedding model leaves out", WHERE, CURE
        )
    setattr(model, model.base_model_prefix, backbone)
    output: Any = model.get_output_embeddings()
    if isinstance(output, nn.Module):
        output.weight = backbone.get_input_embeddings().weight
    new = [name for name, tensor in model.state_dict(keep_vars=True).items() if tensor.is_meta]
    if output is None or new:
        raise RecipeError(f"the head of {name} has weights of its own: {', '.join(new) or 'none found'}", WHERE, CURE)
    return model
