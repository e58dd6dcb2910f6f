"""A recipe's parts put together into a trainer; `embedkit.run` adds measuring and writing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import psutil
import torch
from transformers import TrainerCallback, set_seed

from embedkit.auxiliary.base import Auxiliary
from embedkit.data.clusters import ClusterOrder
from embedkit.data.sampler import StepSampler
from embedkit.data.sources import LoadedSource
from embedkit.disk import paths
from embedkit.disk.model_files import TRUST
from embedkit.errors import DataError, RecipeError, about
from embedkit.model.changing.lora import has_adapters
from embedkit.model.reading import static
from embedkit.model.reading.structure import transformer
from embedkit.model.running import reranker
from embedkit.model.running.encoder import Encoder
from embedkit.model.running.lexical import LexicalEncoder
from embedkit.model.running.reranker import Trained
from embedkit.objectives.base import Objective, build, build_heads, set_up
from embedkit.recipe import registry
from embedkit.recipe.load import dump
from embedkit.recipe.memory import KEEP_SHARE, activation_bytes
from embedkit.recipe.objectives.base import ObjectiveConfig, needs
from embedkit.recipe.objectives.keep_start import copies, kept
from embedkit.recipe.planning.rules_model import MERGE_FIRST
from embedkit.recipe.pool import generated_share, is_mined, negatives_per_query
from embedkit.recipe.reading.dump import of_the_model
from embedkit.recipe.schema import Model, Recipe, Source
from embedkit.recipe.training import MICRO_BATCH_SHARE, micro_batch_tokens
from embedkit.recipe.views import strengthened
from embedkit.run import mining
from embedkit.run.prompting import viewing_of
from embedkit.run.state import Run, process_zero_first
from embedkit.train.anchor import TowardsStart
from embedkit.train.arguments import optimization, training_arguments
from embedkit.train.callbacks import ProgressBar
from embedkit.train.distributed import Comm
from embedkit.train.guide import Guide
from embedkit.train.negatives import Negatives
from embedkit.train.pipeline import Pipeline
from embedkit.train.prograd import ProGrad
from embedkit.train.step import Step
from embedkit.train.stopping import Stopping
from embedkit.train.target import Target
from embedkit.train.trainer import Evaluate, Trainer, autocast
from embedkit.types import RowBatch


def build_trainer(
    recipe: Recipe,
    sources: Sequence[LoadedSource],
    encoder: Trained,
    folder: Path,
    comm: Comm,
    *,
    evaluate: Evaluate | None = None,
    callbacks: Sequence[TrainerCallback] = (),
    stopping: Stopping | None = None,
    mined: Callable[[StepSampler], Negatives] | None = None,
) -> Trainer:
    """Sampler, objectives, pipeline, step and trainer of a recipe.

    Args:
        recipe: the resolved recipe.
        sources: the loaded sources, in the recipe's order.
        encoder: the encoder.
        folder: where checkpoints go.
        comm: the process group.
        evaluate: ``(encoder, update) -> metrics``; None never evaluates.
        callbacks: more trainer callbacks.
        stopping: listens to the system's signals.
        mined: makes the negatives that change during training, for the batches of a sampler.
    """
    train = recipe.train
    sampler = StepSampler(
        [s.rows for s in sources],
        [s.weight for s in recipe.data.sources],
        train.batch_size,
        train.accumulation,
        train.epochs,
        train.steps,
        train.seed,
        [s.name for s in sources],
        [_order(source, config) for source, config in zip(sources, recipe.data.sources, strict=True)],
        [source.repeat or 1 for source in recipe.data.sources],
    )
    objectives = [build(source.objective or recipe.objective, recipe.weighting) for source in recipe.data.sources]
    pipeline = _pipeline(recipe, sources, sampler, encoder, comm)
    pipeline.negatives = None if mined is None else mined(sampler)
    encoder.use_sparse_token_gradients()
    args = training_arguments(recipe, folder, sampler.steps, comm)
    step = _step(recipe, encoder, objectives, comm, args.device)
    for objective in objectives:
        set_up(objective, step.heads[-1].width if step.heads else encoder.training_dim, train.seed)
    _refuse_idle(recipe, encoder, step.auxiliaries)
    return Trainer(
        encoder,
        objectives,
        pipeline,
        args,
        step,
        evaluate=evaluate,
        optimization=optimization(recipe),
        collapse_guard=train.collapse_guard,
        recipe_yaml=dump(of_the_model(recipe)),
        callbacks=[*callbacks, *_anchored(recipe, encoder)],
        patience=recipe.eval.patience,
        keep_checkpoints=train.keep_checkpoints,
        keep_best=recipe.eval.keep == "best",
        stopping=stopping,
    )


def _anchored(recipe: Recipe, encoder: Trained) -> list[TrainerCallback]:
    strength = recipe.train.anchor
    return [] if strength is None else [TowardsStart(encoder.module.parameters(), strength)]


def _order(source: LoadedSource, config: Source) -> ClusterOrder | None:
    options = config.clusters
    if options is None:
        return None
    if source.clusters is None:
        what = "batches by cluster, and the rows have none"
        raise DataError(what, source.name, "name a column in `roles: {cluster: COLUMN}`, or set clusters.kmeans")
    return ClusterOrder(source.clusters, options.batches, options.rest)


def _pipeline(
    recipe: Recipe,
    sources: Sequence[LoadedSource],
    sampler: StepSampler,
    encoder: Trained,
    comm: Comm,
) -> Pipeline:
    configs = [source.objective or recipe.objective for source in recipe.data.sources]
    share = generated_share(sampler.shares, [source.generated for source in recipe.data.sources])
    views = strengthened(recipe.views, share)
    return Pipeline(
        sources,
        sampler,
        encoder,
        comm,
        views=views,
        viewing=viewing_of(recipe, views, sources, encoder),
        per_query=[_per_query(recipe, s, c) for s, c in zip(sources, configs, strict=True)],
        one_positive=recipe.data.one_positive,
        tokens_per_micro_batch=_micro_batch(recipe, encoder),
        seed=recipe.train.seed,
        hardest_of=recipe.negatives.hardest_of,
        once=bool(recipe.train.encode_once),
    )


def _micro_batch(recipe: Recipe, encoder: Trained) -> int:
    """Tokens of a micro-batch on the encoder's device."""
    device = encoder.device
    whole = torch.cuda.get_device_properties(device).total_memory if device.type == "cuda" else 0

    def fits(tokens: int) -> bool:  # the length of rows is not known yet
        return static.is_static(encoder.st) or _activations(recipe, encoder, tokens, 0) <= MICRO_BATCH_SHARE * whole

    return micro_batch_tokens(recipe.train, gpu=device.type != "cpu", fits=fits)


def _step(
    recipe: Recipe,
    encoder: Trained,
    objectives: Sequence[Objective],
    comm: Comm,
    device: torch.device,
) -> Step:
    train = recipe.train
    return Step(
        encoder,
        objectives,
        comm,
        heads=build_heads(recipe.heads, encoder.training_dim, train.seed),
        auxiliaries=_auxiliaries(recipe, encoder) if isinstance(encoder, Encoder) else (),
        guide=_guide(recipe, train.device),
        target=_target(recipe, encoder) if isinstance(encoder, Encoder) else None,
        prograd=_prograd(recipe, encoder),
        seed=train.seed,
        keep_graph=keep_graph(recipe, encoder, comm.world),
        rows_per_block=train.rows_per_block,
        across_processes=recipe.negatives.across_processes,
        autocast=autocast(train.precision, device),
    )


def _refuse_idle(recipe: Recipe, encoder: Trained, auxiliaries: Sequence[Auxiliary]) -> None:
    """Refuse a training that could change nothing of what is saved; a learned temperature is not.

    Raises:
        RecipeError: with what freezes the model, and the cure.
    """
    model = recipe.model
    exported = [a for a in auxiliaries if type(a).export is not Auxiliary.export]
    if encoder.trains() or any(p.requires_grad for a in exported for p in a.parameters()):
        return
    what, where, cure = "nothing that is saved would train", "model.base", "choose a model that can be trained"
    if model.lora is not None:
        what, where = f"{what}: the adapters sit where the embedding does not come from", "model.lora.target_modules"
        cure = "all-linear, or modules of the transformer's layers"
    elif model.freeze:
        what, where = f"{what}: {', '.join(model.freeze)} is all of it", "model.freeze"
        cure = "freeze less, use lora, or add a head with keep: true"
    elif has_adapters(encoder.st):
        what = f"{what}: {model.base} holds adapters, which are read frozen on a frozen base"
        cure = MERGE_FIRST
    raise RecipeError(what, where, cure)


def _auxiliaries(recipe: Recipe, encoder: Encoder) -> list[Auxiliary]:
    built = []
    for config in recipe.auxiliary:
        transformer(encoder.st, f"auxiliary loss {config.name}")
        options = {k: getattr(config, k) for k in type(config).model_fields if k != "name"}
        target = registry.resolve(registry.lookup("auxiliary", config.name).target)
        built.append(target(**options, encoder=encoder, seed=recipe.train.seed))
    return built


def _guide(recipe: Recipe, device: str) -> Guide | None:
    config = recipe.guide
    if config is None:
        return None
    block = Model(
        base=paths.folder_or_id(config.model),
        revision=config.revision,
        pooling=config.pooling,
        max_length=config.max_length,
        trust_remote_code=config.trust_remote_code,
    )
    with (
        about("guide.model", "model.base"),
        about("guide.trust_remote_code", TRUST),
        about("guide.max_length", "model.max_length"),
    ):
        return Guide(Encoder.load(block, device=device))


def _target(recipe: Recipe, encoder: Encoder) -> Target | None:
    configs = [source.objective or recipe.objective for source in recipe.data.sources]
    asked = copies(configs, recipe.train)
    if len(asked) > 1:
        what = f"objectives ask copies of the encoder with momentum {' and '.join(map(str, asked))}"
        raise RecipeError(what, "momentum", "give them one momentum, or null: a run has one copy")
    return Target(encoder, asked[0]) if asked else None


def _prograd(recipe: Recipe, encoder: Trained) -> ProGrad | None:
    config = recipe.train.prograd
    if config is None:
        return None
    return ProGrad(build(kept(recipe.train)), encoder.module.parameters(), config.strength)


def _per_query(recipe: Recipe, source: LoadedSource, config: ObjectiveConfig) -> int:
    given = source.max_negatives > 0 or is_mined(recipe, source.roles, config)
    return negatives_per_query(recipe.negatives.per_query, needed="negative" in needs(config), given=given)


def keep_graph(recipe: Recipe, encoder: Trained, processes: int = 1) -> Callable[[RowBatch], bool]:
    """`train.graph`, with ``auto`` decided per batch by the estimated bytes of activations."""
    choice = recipe.train.graph
    if choice != "auto":
        return lambda batch: choice == "keep"
    if static.is_static(encoder.st):  # which keeps token ids, and no states
        return lambda batch: True
    budget = _activation_budget(encoder.device, processes)

    def fits(batch: RowBatch) -> bool:
        locked = [rows for rows in batch.micro_batches if encoder.is_frozen(batch, rows)]
        frozen = sum(len(batch.input_ids[i]) for rows in locked for i in rows)
        return _activations(recipe, encoder, batch.tokens - frozen, max(map(len, batch.input_ids))) <= budget

    return fits


def _activations(recipe: Recipe, encoder: Trained, tokens: int, length: int) -> int:
    """Estimated bytes of the activations of that many tokens, in rows of a length."""
    config = encoder.st.config
    return activation_bytes(
        tokens,
        layers=config.num_hidden_layers,
        hidden=config.hidden_size,
        heads=config.num_attention_heads,
        length=length,
        precision=recipe.train.precision,
        words=encoder.dim if isinstance(encoder, LexicalEncoder) else 0,
        gpu=encoder.device.type == "cuda",
    )


def _activation_budget(device: torch.device, processes: int) -> float:
    """What kept activations may take of the memory that is free now; processes on one CPU share it."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0] * KEEP_SHARE
    return psutil.virtual_memory().available * KEEP_SHARE / processes


def encoder_of(run: Run) -> Trained:
    """The encoder, or the reranker, that the recipe asks for."""
    train_ = run.recipe.train
    set_seed(train_.seed)
    with process_zero_first(run.comm):
        return reranker.load(run.recipe.model, device=train_.device, seed=train_.seed)


def trainer_of(run: Run, encoder: Trained) -> Trainer:
    """The trainer of the run, with everything that it needs."""
    return build_trainer(
        run.recipe,
        run.sources,
        encoder,
        run.folder.checkpoints,
        run.comm,
        evaluate=run.measuring.during if run.recipe.eval.every is not None else None,
        callbacks=[ProgressBar()] if run.progress else [],
        stopping=run.stopping,
        mined=_mined(run, encoder),
    )


def _mined(run: Run, encoder: Trained) -> Callable[[StepSampler], Negatives] | None:
    if run.recipe.mining is None or not isinstance(encoder, Encoder):
        return None
    return lambda sampler: mining.negatives_of(run, encoder, sampler)
