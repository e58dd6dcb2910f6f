"""A run's mined negatives: what is searched, by what, when, and what becomes known of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from embedkit.data.sampler import StepSampler
from embedkit.errors import RecipeError
from embedkit.mining.assembly import Assembly
from embedkit.mining.background import Background
from embedkit.mining.making import key_of, made_miner, made_strategy, settings_of, tidy_store
from embedkit.mining.miner import By
from embedkit.mining.online import News, OnlineNegatives
from embedkit.mining.problem import Problem
from embedkit.mining.reading import Document, Rows
from embedkit.mining.schedule import Turn, schedule
from embedkit.mining.strategies.base import Strategy
from embedkit.mining.strategies.conan import Conan
from embedkit.model.running.encoder import Encoder, pick_device
from embedkit.recipe.mining import Mining
from embedkit.recipe.pool import is_mined
from embedkit.run.mining_data import add_document, add_source
from embedkit.run.mining_vectors import forecast
from embedkit.run.state import Run
from embedkit.terminal.times import duration
from embedkit.train.negatives import Negatives


def negatives_of(run: Run, encoder: Encoder, sampler: StepSampler) -> OnlineNegatives:
    """The negatives that the recipe's `mining` block asks for.

    Raises:
        RecipeError: no source can be mined, or the model compares by a distance.
        DataError: the corpus cannot be read.
    """
    block = run.recipe.mining
    assert block is not None
    By.of(encoder)  # refuses at once what no search can be made with
    folder, device = run.folder.mined, encoder.device
    settings = settings_of(block, run.recipe.plugins)
    problems = _problems(run, block)
    miners = {
        source: made_miner(problem, settings, folder, str(device), run.comm, run.progress)
        for source, problem in problems.items()
    }
    strategy = made_strategy(settings)
    beside = _beside(run, encoder, block, problems, settings) if block.mode == "background" else None
    team = f"{run.comm.world} processes" if block.index not in ("exact", "auto") else ""  # parts of an index differ

    def by() -> By:
        found = By.of(encoder, batch_tokens=block.batch_tokens)
        if run.first:
            tidy_store(folder, found)
        run.comm.barrier()
        return found

    return OnlineNegatives(
        miners,
        strategy,
        turns_of(block, strategy, sampler),
        folder,
        by,
        settings=key_of(settings) + team,
        beside=beside,
        team=run.comm,
        told=lambda news: _tell(run, news),
    )


def foresee(negatives: Negatives, encoder: Encoder, done: int) -> float:
    """Seconds of the encoding that training will wait for after `done` updates, measured on a few texts.

    What `conan` encodes after its first search, a few negatives of each query, is left out.
    """
    assert isinstance(negatives, OnlineNegatives)
    waits = [turn for turn in negatives.turns if turn.start >= done and turn.effect == turn.start]
    if not waits:
        return 0.0
    times = 1 if isinstance(negatives.strategy, Conan) else len(waits)
    by = By.of(encoder)
    problems = [(miner.problem, miner.store) for miner in negatives.miners.values()]
    found = [forecast(by, problem.queries, problem.documents, store) for problem, store in problems]
    return times * sum(once.seconds for once in found if once is not None)


def turns_of(block: Mining, strategy: Strategy, sampler: StepSampler) -> list[Turn]:
    """The searches of the run."""
    every = block.refresh.every
    if every == "epoch":
        every = max(1, sampler.batches_per_epoch // sampler.accumulation)
    if strategy.once:
        every = None
    lag = 0 if block.mode == "sync" or every is None else min(block.lag or every, every)
    return schedule(block.first, every, lag, sampler.steps)


def _problems(run: Run, block: Mining) -> dict[int, Problem]:
    """What is searched, by source; the corpus is part of each."""
    documents, found = _corpus(run, block), {}
    for index, source in enumerate(run.sources):
        objective = run.recipe.data.sources[index].objective or run.recipe.objective
        if is_mined(run.recipe, source.roles, objective) and not source.streaming:
            assembly = Assembly()
            add_source(assembly, source)
            for document in documents:
                add_document(assembly, document)
            found[index] = assembly.finish()
            _tell_depth(run, block, source.name, len(found[index].documents))
    if not found:
        raise RecipeError("no source has queries and positives to mine for", "mining", "remove it, or name the columns")
    return found


def _tell_depth(run: Run, block: Mining, name: str, documents: int) -> None:
    if run.first and block.depth > documents:
        many = f"are {documents:,} documents" if documents > 1 else "is one document"
        run.say(f"{'negatives':<13}{name}: there {many} for a depth of {block.depth:,}: all are retrieved")


def _corpus(run: Run, block: Mining) -> list[Document]:
    """Further documents; rows without a text are left out and counted."""
    rows = Rows(skip=True)
    documents = [] if block.corpus is None else list(rows.documents(block.corpus, progress=run.progress))
    for why, count in rows.bad.by_reason.items():
        run.record.warnings.append(f"mining.corpus: {count:,} rows left out: {why}")
        run.say(f"warning      {run.record.warnings[-1]}")
    return documents


def _beside(
    run: Run, encoder: Encoder, block: Mining, problems: dict[int, Problem], settings: dict[str, Any]
) -> Background | None:
    """Process 0 has the searches done; in the others their absence is waited for alike."""
    places: dict[int, Path] = {}
    for source, problem in problems.items():
        places[source] = run.folder.mined / f"source-{source}"
        if run.first:
            problem.write(places[source])
    device = str(pick_device(block.device))
    return Background(encoder, places, settings, key_of(settings), device, block.threads)


def _tell(run: Run, news: News) -> None:
    """Record a version, once however often it was taken over, and say a line."""
    report, table = news.table.report, news.table
    index = report["index"]
    entry = {
        "source": run.sources[news.source].name,
        "version": table.version,
        "searched": news.turn.start,
        "used": news.turn.effect,
        "changed": round(news.changed, 4),
        "waited": round(news.waited, 3),
        **{name: report.get(name) for name in ("score", "margin", "suspects", "negatives", "without", "removed")},
        "index": {name: index[name] for name in ("kind", "recall", "rows", "effort")},
        "seconds": report["seconds"],
    }
    same = (entry["source"], entry["version"])
    run.record.mining = [e for e in run.record.mining if (e["source"], e["version"]) != same] + [entry]
    run.say(f"{'negatives':<13}{line_of(entry)}")


def line_of(entry: dict[str, Any]) -> str:
    """A version for a person."""
    number = f"{entry['negatives']:,}" + (f" ({entry['without']:,} queries have none)" if entry["without"] else "")
    score = "" if entry["score"] is None else f", mean similarity {entry['score']:.3f}"
    margin = "" if entry["margin"] is None else f", {entry['margin']:.3f} below the positive"
    used = "" if entry["used"] == entry["searched"] else f" (used from {entry['used']})"
    waits = f"; training waited {duration(entry['waited'])}"
    return (
        f"version {entry['version']} of update {entry['searched']}{used}: {number}{score}{margin}, "
        f"{entry['suspects']:.1%} suspects, {entry['changed']:.0%} new{waits}"
    )
