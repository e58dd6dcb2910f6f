"""The head of a masked language model, apart from its backbone: hidden states -> logits over the vocabulary."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from embedkit.disk.files import write_json, writing
from embedkit.disk.model_files import BASE, CONFIG, inside, read_json, read_modules
from embedkit.errors import EmbedkitError, RecipeError, about
from embedkit.model.checking.boundary import reading
from embedkit.model.checking.fit import refuse_gaps
from embedkit.model.reading.loading import load_transformers
from embedkit.model.reading.resolve import Origin
from embedkit.model.reading.seeding import seeded

if TYPE_CHECKING:
    from embedkit.model.running.encoder import Encoder

WEIGHTS = "model.safetensors"


class LanguageHead(nn.Module):
    """The masked-LM head of any transformers architecture.

    The architecture's own ``...ForMaskedLM`` runs with its backbone exchanged for one that returns the given
    states, so that nothing of its head is written again here.

    Args:
        model: a ``...ForMaskedLM``; its backbone is taken out and returned by `take_backbone`.
        table: token table that the output is tied to, where the architecture ties them. It stays the encoder's: it
            is no parameter of this module.
        new: whether the checkpoint had no such head.

    Attributes:
        new: as above.
    """

    def __init__(self, model: Any, table: nn.Embedding | None = None, *, new: bool = False) -> None:
        super().__init__()
        self.prefix: str = model.base_model_prefix
        self.new = new
        self._backbone = (getattr(model, self.prefix),)
        output = model.get_output_embeddings()
        setattr(model, self.prefix, _Given())
        self.model = model
        if table is not None and model.config.tie_word_embeddings:
            place = next(name for name, module in model.named_modules() if module is output)
            model.set_submodule(place, _Tied(table, output.bias))

    def take_backbone(self) -> nn.Module:
        """The backbone that came with the head; this module forgets it."""
        (backbone,), self._backbone = self._backbone, (nn.Identity(),)
        return backbone

    def forward(self, states: Tensor) -> Tensor:
        """[m, h] hidden states -> [m, V] logits."""
        given: _Given = getattr(self.model, self.prefix)
        given.states = states[None]
        try:
            logits: Tensor = self.model(input_ids=None).logits[0]
        finally:
            given.states = None
        return logits

    def add_to(self, folder: Path) -> None:
        """Make a saved backbone a masked language model too.

        Afterwards both ``AutoModelForMaskedLM.from_pretrained(folder)`` and whatever loaded the folder before (the
        backbone alone, sentence-transformers) work: the file gets the names that transformers gives to a backbone
        inside a ``...ForMaskedLM``, as in published BERT checkpoints.

        Args:
            folder: holds ``config.json`` and ``model.safetensors`` of the backbone.

        Raises:
            EmbedkitError: the weights are not in one safetensors file.
        """
        from safetensors.torch import load_file, save_file

        path = folder / WEIGHTS
        if not path.is_file():
            raise EmbedkitError(
                "the masked-LM head could not be added to the saved model: no single weights file",
                str(path),
                "the encoder itself is saved; its head is in the last checkpoint (embedkit/auxiliary.safetensors)",
            )
        weights = {f"{self.prefix}.{name}": value for name, value in load_file(path).items()}
        weights |= {n: v.detach().cpu().contiguous().clone() for n, v in self.model.state_dict().items()}
        written = path.with_suffix(".writing")
        with writing(path):
            save_file(weights, written, metadata={"format": "pt"})
            written.replace(path)
        config = read_json(folder / CONFIG, dict)
        write_json(folder / CONFIG, config | {"architectures": [type(self.model).__name__]}, indent=2)


class _Given(nn.Module):
    """Stands where the backbone was and returns the states it was given."""

    states: Tensor | None = None

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        from transformers.modeling_outputs import BaseModelOutputWithPastAndCrossAttentions

        return BaseModelOutputWithPastAndCrossAttentions(last_hidden_state=self.states)


class _Tied(nn.Module):
    """Linear layer whose weight is a token table that belongs to somebody else."""

    def __init__(self, table: nn.Embedding, bias: nn.Parameter | None) -> None:
        super().__init__()
        self._table = (table,)
        self.bias = bias

    def forward(self, states: Tensor) -> Tensor:
        return F.linear(states, self._table[0].weight, self.bias)


def transformer_origin(encoder: Encoder) -> Origin:
    """Where the encoder's transformer came from: old sentence-transformers folders keep it in a folder of its own."""
    backbone: Any = encoder.st[0].auto_model
    origin = encoder.origin or Origin("folder", str(backbone.config._name_or_path))
    modules = read_modules(inside(Path(origin.target)))
    return replace(origin, target=str(Path(origin.target) / modules[0].folder)) if modules else origin


def _class(causal: bool) -> Any:
    from transformers import AutoModelForCausalLM, AutoModelForMaskedLM

    return AutoModelForCausalLM if causal else AutoModelForMaskedLM


def _language_model(origin: Origin, trust: bool, causal: bool) -> tuple[Any, bool]:
    """A ``...ForMaskedLM`` or ``...ForCausalLM``, and whether its head is new because the checkpoint has none.

    Raises:
        RecipeError: its backbone, or a part of its head, is not in the checkpoint.
    """
    model, report = load_transformers(_class(causal), origin, trust=trust, dtype=torch.float32)
    inner = f"{model.base_model_prefix}."
    head = {name: p for name, p in model.named_parameters() if not name.startswith(inner)}
    matrices = {name for name, p in head.items() if p.ndim > 1} or set(head)
    new = bool(matrices) and matrices <= report.missing
    parameters = {name for name, _ in model.named_parameters() if not (new and name in head)}
    refuse_gaps(report, {name for name in report.missing & parameters if not name.startswith(f"{inner}pooler.")})
    return model, new


def _untrained(origin: Origin, trust: bool, causal: bool) -> Any:
    from transformers import AutoConfig

    with reading("the configuration", origin):
        found = {"revision": origin.revision} if origin.kind == "hub" else {"local_files_only": True}
        config = AutoConfig.from_pretrained(origin.target, trust_remote_code=trust, **found)
        return _class(causal).from_config(config, trust_remote_code=trust)


def load_language_head(
    origin: Origin,
    *,
    table: nn.Embedding | None = None,
    seed: int = 0,
    where: str = "auxiliary",
    scratch: bool = False,
    trust: bool = False,
    causal: bool = False,
) -> LanguageHead:
    """The masked-LM head of a checkpoint, or a causal model's, or a new one, drawn as the architecture draws its heads.

    Args:
        origin: where the checkpoint is.
        table: see `LanguageHead`.
        seed: of a new head; the global random state is left as it was.
        where: key of the recipe, for errors.
        scratch: take the configuration alone; every weight is new.
        trust: whether code that comes with the checkpoint may run.
        causal: the head of a causal language model.

    Raises:
        RecipeError: the architecture has no such class in transformers, or another vocabulary; or the checkpoint
            is damaged.
    """
    with seeded(seed), about(where, BASE):
        try:
            model, new = (
                (_untrained(origin, trust, causal), True) if scratch else _language_model(origin, trust, causal)
            )
        except RecipeError as error:
            if not isinstance(error.__cause__, (OSError, ValueError)):
                raise
            kind, those = ("causal", "LLaMA, Qwen, Gemma") if causal else ("masked", "BERT, RoBERTa, DistilBERT")
            what = f"{origin} cannot be loaded as a {kind} language model: {error.what}"
            cure = f"choose a model for which transformers has a For{kind.title()}LM class ({those}, ...)"
            raise RecipeError(what, where, cure) from error
    head = LanguageHead(model, table, new=new)
    rows = model.config.vocab_size
    if table is not None and table.num_embeddings != rows:
        raise RecipeError(
            f"the encoder's token table has {table.num_embeddings} rows and its masked-LM head {rows}",
            where,
            "use a model whose vocabulary was not changed after its masked-LM pretraining",
        )
    return head
