"""Rules about the model, the optimisation, the processes and the evaluation."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterator

from embedkit.errors import RecipeError
from embedkit.recipe.planning.context import Context, problem
from embedkit.recipe.planning.estimate import micro_batch
from embedkit.recipe.reading.problems import Problem

_BACKENDS = {"ACCELERATE_USE_FSDP": "FSDP", "ACCELERATE_USE_DEEPSPEED": "DeepSpeed"}


def batch_divides(c: Context) -> Iterator[Problem]:
    size, rest = c.recipe.train.batch_size, c.recipe.train.batch_size % c.processes
    if rest:
        near = max(c.processes, size - rest)
        what = f"{size} is over all processes and does not divide by {c.processes}"
        yield problem(("train", "batch_size"), what, f"use a multiple of {c.processes}, e.g. {near}")


def backend_is_supported(c: Context) -> Iterator[Problem]:
    for variable, name in _BACKENDS.items():
        if c.environ.get(variable, "").lower() in ("1", "true", "yes"):
            what = f"{name} is not supported: processes may have different numbers of micro-batches"
            yield problem((), what, f"unset {variable}; embedkit trains data-parallel, started by --nproc or torchrun")


def one_mps_process(c: Context) -> Iterator[Problem]:
    if c.recipe.train.device == "mps" and c.processes > 1:
        yield problem(("train", "device"), "one Apple GPU cannot serve several processes", "use one process, or cpu")


def length_fits(c: Context) -> Iterator[Problem]:
    length, model = c.recipe.model.max_length, c.model
    if length is not None and model is not None and model.positions and length > model.positions:
        what = f"{length} is more than the {model.positions} positions of the model"
        yield problem(("model", "max_length"), what, f"at most {model.positions}")


def evaluation_fits(c: Context) -> Iterator[Problem]:
    if c.suite is None or c.model is None or not c.model.positions:
        return
    for task in c.suite.tasks:
        if task.max_length is not None and task.max_length > c.model.positions:
            what = f"task {task.name}: max_length {task.max_length} is more than the {c.model.positions} positions"
            yield problem(("eval", "suite"), f"{what} of the model", f"at most {c.model.positions}")


def peft_is_there(c: Context) -> Iterator[Problem]:
    if c.recipe.model.lora is not None and importlib.util.find_spec("peft") is None:
        yield problem(
            ("model", "lora"), "LoRA needs peft, which is not installed", 'pip install "embedkit-train[lora]"'
        )


def lora_freezes_already(c: Context) -> Iterator[Problem]:
    if c.recipe.model.lora is not None and c.recipe.model.freeze:
        yield problem(("model", "freeze"), "LoRA freezes the whole backbone already", "give lora or freeze, not both")


def something_trains(c: Context) -> Iterator[Problem]:
    model = c.recipe.model
    if (model.head is None or not model.head.keep) and ("all" in model.freeze or _is_all(model.freeze, c)):
        what = "the whole backbone is frozen and nothing that is saved would train"
        yield problem(("model", "freeze"), what, "freeze less, use lora, or add a head with keep: true")


_BARE = ("bert", "roberta", "xlm-roberta", "distilbert", "mpnet", "electra", "camembert")
"""Architectures of nothing but embeddings and layers; others have a norm behind them."""


def _is_all(freeze: tuple[str, ...], c: Context) -> bool:
    """Whether the frozen parts are embeddings and every layer; what only the built model tells is asked there."""
    if (
        c.model is None
        or c.saved is None
        or c.saved.config.get("model_type") not in _BARE
        or "embeddings" not in freeze
    ):
        return False
    if any(auxiliary.name == "mlm" for auxiliary in c.recipe.auxiliary):
        return False  # its head is saved with the model
    frozen: set[int] = set()
    for part in freeze:
        match = re.fullmatch(r"layers:(\d+)(?:-(\d+))?", part)
        if match:
            frozen |= set(range(int(match[1]), int(match[2] or match[1]) + 1))
    return set(range(c.model.layers)) <= frozen


def suite_for_evaluation(c: Context) -> Iterator[Problem]:
    block = c.recipe.eval
    if block.suite is None and block.during is None:
        for key in ("every", "patience"):
            if getattr(block, key) is not None:
                yield problem(("eval", key), "there is no suite to evaluate", "set eval.suite")
    if block.patience is not None and block.every is None:
        yield problem(("eval", "patience"), "counts evaluations, and none is done during training", "set eval.every")
    if block.during is not None and block.every is None:
        yield problem(("eval", "during"), "no evaluation is done during training", "set eval.every, or remove it")


def selection_exists(c: Context) -> Iterator[Problem]:
    if c.suite is None or c.recipe.eval.every is None:
        return
    try:
        c.suite.check_selection(c.recipe.eval.select)
    except RecipeError as error:
        yield problem(("eval", "select"), error.what, error.cure)


def evaluation_happens(c: Context) -> Iterator[Problem]:
    every = c.recipe.eval.every
    if every is not None and c.updates is not None and every > c.updates > 0:
        what = f"the run has {c.updates} updates, so the model is evaluated after the last one alone"
        yield problem(("eval", "every"), what, f"use {max(1, c.updates // 5)}, or leave it out")


def best_is_chosen(c: Context) -> Iterator[Problem]:
    """Where it is asked for: a recipe with every default written out holds the two keys as well."""
    block = c.recipe.eval
    if block.keep == "best" and block.every is None and {"keep", "every"} & block.model_fields_set == {"keep"}:
        what = "there is no best model: nothing is evaluated during training"
        yield problem(("eval", "keep"), what, "set eval.every, or keep: last")


def selection_happens(c: Context) -> Iterator[Problem]:
    if c.recipe.eval.every is None and c.recipe.eval.select != "average":
        what = "chooses among evaluations during training, and there are none"
        yield problem(("eval", "select"), what, "set eval.every, or remove it")


def nothing_is_measured(c: Context) -> Iterator[Problem]:
    if c.recipe.eval.suite is None and c.recipe.eval.masked_lm is None:
        yield problem(("eval", "suite"), "nothing is measured before and after training", "set it, e.g. to `sts`")


def rows_fit_micro_batches(c: Context) -> Iterator[Problem]:
    length = c.recipe.model.max_length or (c.model.max_length if c.model else None)
    budget = micro_batch(c)
    if length is not None and length > budget:
        what = f"a text may have {length} tokens, more than the {budget} of a micro-batch, and then goes alone"
        yield problem(
            ("train", "tokens_per_micro_batch"), what, f"raise it to {length} or more, or lower model.max_length"
        )


def learning_rate_is_usual(c: Context) -> Iterator[Problem]:
    rate, model = c.recipe.train.learning_rate, c.recipe.model
    if c.saved is not None and c.saved.is_static:
        return  # a token's vector moves only where the token is
    if rate > 1e-3 and model.lora is None and model.soft_prompts is None and not model.freeze:
        yield problem(("train", "learning_rate"), f"{rate:g} is high for training all weights", "2e-5 to 1e-4 is usual")


def lion_is_slower(c: Context) -> Iterator[Problem]:
    train, model = c.recipe.train, c.recipe.model
    if train.optimizer == "lion" and train.learning_rate >= 2e-5 and model.lora is None and model.soft_prompts is None:
        what = f"lion moves every weight by all of the learning rate, and {train.learning_rate:g} is usual for AdamW"
        yield problem(("train", "learning_rate"), what, "take 3 to 10 times less, and as much more weight_decay")


def betas_are_used(c: Context) -> Iterator[Problem]:
    name, betas = c.recipe.train.optimizer, c.recipe.train.betas
    if betas is not None and not any(kin in name for kin in ("adam", "lion")):
        yield problem(("train", "betas"), f"{name} has none", "remove it, or take adamw_torch_fused or lion")
    if betas is not None and not all(0 <= beta < 1 for beta in betas):
        yield problem(("train", "betas"), "must be in 0..1, 1 excluded", "0.9, 0.99")


def code_runs(c: Context) -> Iterator[Problem]:
    if c.recipe.model.trust_remote_code:
        what = f"code that comes with {c.recipe.model.base} runs on this machine"
        yield problem(
            ("model", "trust_remote_code"), what, "set it to false unless you read that code; pin model.revision"
        )


def prompts_have_an_effect(c: Context) -> Iterator[Problem]:
    prompts = c.recipe.model.prompts
    if c.recipe.model.include_prompt_in_pooling is False and c.recipe.model.pooling in ("cls", "lasttoken"):
        what = f"pooling {c.recipe.model.pooling} takes one token, so leaving the prompt out changes nothing"
        yield problem(("model", "include_prompt_in_pooling"), what, "remove it, or use mean")
    if prompts.document and any(s.unlabelled for s in c.sources):
        what = "views of unlabelled text are all queries; the document prompt is not trained"
        yield problem(("model", "prompts", "document"), what, "remove it, or train on pairs too")


REFUSALS = [
    batch_divides,
    backend_is_supported,
    one_mps_process,
    length_fits,
    evaluation_fits,
    peft_is_there,
    lora_freezes_already,
    something_trains,
    suite_for_evaluation,
    best_is_chosen,
    selection_exists,
    betas_are_used,
]
WARNINGS = [
    evaluation_happens,
    selection_happens,
    nothing_is_measured,
    rows_fit_micro_batches,
    learning_rate_is_usual,
    lion_is_slower,
    code_runs,
    prompts_have_an_effect,
]
