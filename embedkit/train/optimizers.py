"""How weights are moved: Lion beside the optimisers of transformers, and learning rates by group and layer."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from sentence_transformers import SentenceTransformerTrainingArguments
from torch import Tensor, nn
from transformers import Trainer as HFTrainer

from embedkit.model.reading.structure import depths, transformer

if TYPE_CHECKING:
    from embedkit.model.running.module import EncoderModule
    from embedkit.model.running.reranker import RerankerModule
    from embedkit.train.trainee import Trainee

LION = "lion"
STANDS_FOR_OURS = "adamw_torch"
"""What transformers' arguments say where the optimiser is none of theirs."""


class Lion(torch.optim.Optimizer):
    """Lion (arXiv 2302.06675)::

        theta <- (1 - lr weight_decay) theta - lr sign(b1 m + (1 - b1) g);    m <- b2 m + (1 - b2) g

    m begins at 0 and is all the state there is; there is no correction of its bias. Every weight with a gradient moves
    by the whole learning rate, so it is 3 to 10 times smaller than AdamW's, and weight decay as much larger.

    Own code: the packages that have it are no smaller than these lines, and transformers' needs a CUDA library.

    Args:
        params: parameters or groups.
        lr: learning rate.
        betas: b1, b2; (0.95, 0.98) is steadier.
        weight_decay: decoupled.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-4,
        betas: tuple[float, float] = (0.9, 0.99),
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One update."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            rate, (first, second) = group["lr"], group["betas"]
            for p in group["params"]:
                if p.grad is None:
                    continue
                state = self.state[p]
                if not state:
                    state["exp_avg"] = torch.zeros_like(p)
                moment: Tensor = state["exp_avg"]
                p.mul_(1 - rate * group["weight_decay"])
                p.add_(moment.lerp(p.grad, 1 - first).sign_(), alpha=-rate)
                moment.lerp_(p.grad, 1 - second)
        return loss


@dataclass(frozen=True)
class Optimization:
    """What a recipe says of the optimiser.

    Attributes:
        name: of an optimiser of transformers, or ``lion``.
        betas: of Adam's kin and Lion; None takes the optimiser's own.
        objective_learning_rate: for the objectives' parameters; None takes the encoder's.
        layer_decay: the learning rate of each layer of the encoder is that of the one above times this; None: one rate.
    """

    name: str = "adamw_torch_fused"
    betas: tuple[float, float] | None = None
    objective_learning_rate: float | None = None
    layer_decay: float | None = None

    def arguments(self) -> dict[str, Any]:
        """What of this goes into transformers' arguments."""
        options: dict[str, Any] = {"optim": STANDS_FOR_OURS if self.name == LION else self.name}
        if self.betas is not None:
            options |= {"adam_beta1": self.betas[0], "adam_beta2": self.betas[1]}
        return options

    def kind(self, args: SentenceTransformerTrainingArguments, model: nn.Module) -> tuple[type[Any], dict[str, Any]]:
        """The class of the optimiser, and its options."""
        if self.name != LION:
            cls, options = HFTrainer.get_optimizer_cls_and_kwargs(args, model)
            return cls, dict(options)
        return Lion, {"lr": args.learning_rate, **({} if self.betas is None else {"betas": self.betas})}

    def groups(
        self, trainee: Trainee, args: SentenceTransformerTrainingArguments, decayed: Collection[str]
    ) -> list[dict[str, Any]]:
        """Groups of the parameters that train: by layer, what decays and what does not (biases, norms); objectives
        last, without decay and with a learning rate of their own.

        Args:
            trainee: everything that trains.
            args: learning rate and weight decay.
            decayed: names of the parameters that decay.
        """
        below = self._below(trainee.encoder)
        found: dict[tuple[int, bool], list[nn.Parameter]] = {}
        ours: list[nn.Parameter] = []
        for name, p in trainee.named_parameters():
            if not p.requires_grad:
                continue
            if name.startswith("objectives."):
                ours.append(p)
            else:
                found.setdefault((below.get(id(p), 0), name not in decayed), []).append(p)
        groups = []
        for (depth, plain), params in sorted(found.items(), key=lambda item: item[0]):
            rate = args.learning_rate * (self.layer_decay or 1.0) ** depth
            groups.append({"params": params, "weight_decay": 0.0 if plain else args.weight_decay, "lr": rate})
        rate = self.objective_learning_rate or args.learning_rate
        return [*groups, *([{"params": ours, "weight_decay": 0.0, "lr": rate}] if ours else [])]

    def _below(self, encoder: EncoderModule | RerankerModule) -> Mapping[int, int]:
        """How many layers are above each parameter of the towers, by its identity; nothing where all learn alike."""
        found: dict[int, int] = {}
        tower: EncoderModule | RerankerModule | None = None if self.layer_decay is None else encoder
        while tower is not None:
            backbone: Any = transformer(tower.st, "train.layer_decay")
            depth = depths(backbone)
            found |= {id(p): depth[name] for name, p in backbone.named_parameters()}
            tower = tower.second
        return found
