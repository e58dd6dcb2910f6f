"""`mine`: hard negatives of queries, found once and written to a file that training reads."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from embedkit import __version__
from embedkit.data.cache import cache_folder
from embedkit.disk.locks import hold_file
from embedkit.disk.model_files import BASE
from embedkit.errors import DataError, about
from embedkit.mining import mined_file, teaching, tuples
from embedkit.mining.filters.base import Filter
from embedkit.mining.filters.cross_encoder import logits
from embedkit.mining.filters.guide import GuideScores
from embedkit.mining.filters.named import Setting, guiding
from embedkit.mining.filters.pairs import ScorePairs
from embedkit.mining.miner import Miner
from embedkit.mining.problem import Problem
from embedkit.mining.spreading import Spread
from embedkit.mining.suspects import Suspects
from embedkit.mining.table import MinedTable
from embedkit.model.reading.loading import load_cross_encoder
from embedkit.model.reading.resolve import resolve
from embedkit.model.running.encoder import pick_device
from embedkit.publish.audit import Audit, write_audit
from embedkit.recipe.filters import WHERE, Named, parse_all
from embedkit.recipe.load import load_recipe, made, validate_tree
from embedkit.recipe.mining import Search
from embedkit.recipe.reading.settle import settle
from embedkit.recipe.reading.tree import Node
from embedkit.recipe.schema import Model, Recipe
from embedkit.run.environment import quiet_libraries
from embedkit.run.mining_data import Data, Gathered, gather
from embedkit.run.mining_filters import filters_of
from embedkit.run.mining_queries import writer_of
from embedkit.run.mining_target import Target
from embedkit.run.mining_vectors import Given, Sides, forecast, sides
from embedkit.run.state import Say
from embedkit.spread.engines import pool_of
from embedkit.spread.pool import Pool
from embedkit.terminal import output
from embedkit.vectors import concatenated
from embedkit.vectors.index.build import IndexReport
from embedkit.vectors.space import Encode
from embedkit.vectors.store import VectorStore

KEPT = 16 * 2**30
"""Bytes of vectors kept in the cache for the next search; the models used longest ago go first."""
GUIDE = "guide="
"""Before a teacher that is an embedding model."""
OPTIONS = {"ram_gb": "--ram", "filters": "--filter"}
"""How the command line calls keys of `Search`, where it is not by their names."""


@dataclass(frozen=True)
class Result:
    """What `mine` found.

    Attributes:
        path: the Parquet file.
        problem: queries and documents.
        table: their negatives, as rows of the documents.
        about: what stands in the file's metadata.
    """

    path: Path
    problem: Problem
    table: MinedTable
    about: dict[str, Any]


def mine(
    model: str | Encode | None = None,
    *,
    out: str | Path,
    beir: str | Path | None = None,
    split: str = "train",
    queries: str | Path | None = None,
    corpus: str | Path | None = None,
    queries_from: str | None = None,
    recipe: str | Path | None = None,
    given: Given | None = None,
    store: str | Path | None = None,
    max_length: int | None = None,
    batch_tokens: int = 8192,
    device: str = "auto",
    export: str | Path | None = None,
    export_negatives: int | None = None,
    audit: str | Path | None = None,
    teacher: str | None = None,
    engine: str = "local",
    skip_bad_rows: bool = False,
    overwrite: bool = False,
    say: Say = output.say,
    progress: bool = True,
    **search: Any,
) -> Result:
    """Mine hard negatives and write them to a Parquet file (`embedkit.mining.mined_file`).

    Vectors are kept as they come: killed and started again, it goes on where it stopped.

    Args:
        model: folder, Hub id, several of them (`embedkit.vectors.concatenated`), or what gives [n, d] numbers for n
            texts; None: that of the recipe, or none at all where `given` has all vectors.
        out: the file, ending with ``.parquet``.
        beir: a BEIR folder, and the `split` of its judgements.
        queries: a file of queries, see `embedkit.run.mining_data.Data`, as are the next two.
        corpus: a file of documents.
        queries_from: ``title``, or ``synth:MODEL,...``.
        recipe: its sources, model and mining block are taken where nothing else is given.
        given: vectors that are there.
        store: folder for vectors; None: ``$XDG_CACHE_HOME/embedkit/mining``, within `KEPT`.
        max_length: tokens per text; None: the model's own setting.
        batch_tokens: padded tokens per batch.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        export: a Parquet or JSONL file of tuples for sentence-transformers (`embedkit.mining.tuples`).
        export_negatives: of a tuple; None: as many as are kept.
        audit: folder for a page on what was found (`embedkit.publish.audit`).
        teacher: folder or Hub id of a cross-encoder, or ``guide=`` and that of an embedding model: a column
            `teacher_score` has its logit, or cosine, of the positive and of every negative.
        engine: ``ray`` encodes, searches and scores on a Ray cluster, whose machines all see `store` and the folder of
            `out`; what is found is the same.
        skip_bad_rows: leave bad rows out and count them.
        overwrite: replace what is there.
        say: receives what is done and found, in lines.
        progress: show bars.
        search: keys of `embedkit.recipe.mining.Search`: depth, keep, filters, ...; they go before the recipe's.

    Raises:
        RecipeError: settings that cannot be, a model that is not found or compares by a distance.
        DataError: rows are bad, ids repeat, there is no query or document, vectors do not fit, a demanded recall is not
            reached, nothing has the positives that are needed.
        EmbedkitError: what would be written exists.
        BusyError: another process writes to it.
        WriteError: it, or the store, cannot be written.

    Example:
        >>> from datasets import Dataset
        >>> quiet = {"say": lambda line: None, "progress": False, "store": "vectors"}
        >>> found = mine("runs/mine/model", beir="beir", split="test", out="mined.parquet", keep=3, **quiet)
        >>> rows = Dataset.from_parquet(str(found.path))
        >>> rows.num_rows, len(rows[0]["negative"])
        (8, 3)
    """
    quiet_libraries()
    target = Target(Path(out), _path(export), export_negatives, _path(audit))
    target.check()
    read = None if recipe is None else load_recipe(recipe)
    settings = _settings(read, search)
    where = OPTIONS["filters"] if "filters" in search or read is None else WHERE
    named = parse_all(settings.filters, where)
    data = Data(_path(beir), split, queries, corpus, queries_from, skip_bad_rows)
    data.check(read is not None)
    if not overwrite:
        target.refuse_existing()
    with hold_file(target.out, "mining"), pool_of(engine) as pool:
        made: dict[str, Any] = {"device": device, "seed": settings.seed, "say": say, "progress": progress}
        write = writer_of(queries_from or "", target.written, **made)
        gathered = gather(data, read, write=write, progress=progress)
        for line in _read_lines(gathered, settings):
            say(line)
        target.check_positives(gathered.problem)
        check_margins(named, gathered.problem, where)
        options: dict[str, Any] = {"device": device, "batch_tokens": batch_tokens}
        ends = sides(_model(model, read), given or Given(), gathered, max_length=max_length, **options)
        spread = _spread(pool, target, say)
        options |= {"spread": spread, "progress": progress, "where": where}
        setting = Setting(gathered.problem, _store(store, settings), settings.seed, **options)
        teaches = None if teacher is None else _teacher(teacher, replace(setting, where="--teacher"))
        with filters_of(named, setting, target.answers) as rules:
            suspects = Suspects(gathered.problem)
            miner = _miner(settings, setting, ends, rules, target)
            found, scores = _search(miner, ends, suspects, say, target.scratch)
        described = _about(gathered, found, settings, ends, rules) | _taught_by(teacher)
        looked = Audit(gathered.problem, found, scores, suspects, described, target.out.name)
        for line in _write(target, looked, settings.keep, teaches):
            say(line)
    return Result(target.out, gathered.problem, found, described)


def check_margins(named: Sequence[Named], problem: Problem, where: str) -> None:
    """Refuse filters that compare with a positive where there is none.

    Raises:
        DataError: which one.
    """
    for one in () if any(problem.positives) else named:
        rule = one.settings.get("rule")
        if one.name in ("margin", "absolute-margin") or (rule is not None and rule.relative):
            what = f"{one.name} compares with a query's positive, and no query has one"
            raise DataError(what, where, "give positives, or a filter that needs none: rank, score")


def _spread(pool: Pool | None, target: Target, say: Say) -> Spread | None:
    if pool is None:
        return None
    say(pool.words)
    return Spread(pool, target.parts)


def _miner(settings: Search, made: Setting, ends: Sides, rules: Sequence[Filter], target: Target) -> Miner:
    place = str(ends.encoder.device if ends.encoder is not None else pick_device(made.device))
    if made.spread is not None:
        place = made.device  # each process of the pool has its own
    options: dict[str, Any] = {"device": place, "scratch": target.scratch, "progress": made.progress}
    options["spread"] = made.spread
    return Miner(made.problem, settings, made.store, filters=rules, **options)


def _search(miner: Miner, ends: Sides, suspects: Suspects, say: Say, scratch: Path) -> tuple[MinedTable, np.ndarray]:
    """The negatives, and the similarity of every positive."""
    problem = miner.problem
    foreseen = forecast(ends.by, problem.queries, problem.documents, miner.store) if ends.encoder is not None else None
    if foreseen is not None:
        say(f"forecast: encoding takes {foreseen.words}")
    shutil.rmtree(scratch, ignore_errors=True)  # of a killed process
    try:
        table = miner.mine(ends.by, seen=suspects)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return table, miner.positive_scores(ends.by)


def _teacher(name: str, setting: Setting) -> ScorePairs:
    """What scores the candidates at the end; it loads before anything is searched."""
    if name.startswith(GUIDE):
        encoder, options = guiding(name.removeprefix(GUIDE), setting)
        return GuideScores.of_encoder(setting.problem, encoder, setting.store, **options).of_texts
    with about(setting.where, BASE):
        return logits(load_cross_encoder(resolve(name), pick_device(setting.device)))


def _taught_by(teacher: str | None) -> dict[str, str]:
    if teacher is None:
        return {}
    kind = GUIDE if teacher.startswith(GUIDE) else ""
    return {"teacher": kind + _public(teacher.removeprefix(GUIDE))}


def _write(target: Target, found: Audit, keep: int, teaches: ScorePairs | None) -> list[str]:
    """The file of negatives and what stands beside it; lines about them."""
    problem = found.problem
    blocks, schema = mined_file.blocks(problem, found.table, found.positive_scores), mined_file.schema_of(problem)
    if teaches is not None:
        blocks, schema = teaching.taught(blocks, teaches), schema.append(teaching.COLUMN)
    rows = mined_file.write(target.out, blocks, found.about, schema)
    shutil.rmtree(target.parts, ignore_errors=True)
    return _found_lines(found, rows, target.out) + _beside(target, found, keep)


def _beside(target: Target, found: Audit, keep: int) -> list[str]:
    """What is written besides the file of negatives."""
    lines = []
    if target.audit is not None:
        lines.append(f"audit -> {write_audit(target.audit, found)}")
    if target.export is not None:
        negatives = target.negatives or keep
        count, left = tuples.write(target.export, found.problem, found.table, negatives)
        fewer = f", {left:,} pairs left out: fewer negatives" if left else ""
        lines.append(f"{count:,} tuples with {negatives} negatives{fewer} -> {target.export}")
    return lines


def _settings(recipe: Recipe | None, given: Mapping[str, Any]) -> Search:
    """The recipe's settings under those that are given, with errors that name the options."""
    block = None if recipe is None else recipe.mining
    own = {} if block is None else {name: getattr(block, name) for name in Search.model_fields}
    options = {name: Node(_listed(value), OPTIONS.get(name, f"--{name}")) for name, value in {**own, **given}.items()}
    found = validate_tree(Search, Node(options, "mine"))
    known = {} if block is None or "filters" in given else {"filters": block.filters}  # which know where they lead
    return settle(found.model_copy(update=known))


def _listed(value: Any) -> Any:
    return [Node(one, OPTIONS["filters"]) for one in value] if isinstance(value, (list, tuple)) else value


def _model(model: str | Encode | None, recipe: Recipe | None) -> Model | Encode | None:
    if model is None:
        return None if recipe is None else recipe.model
    return made(Model, base=model) if isinstance(model, str) else model


def _store(folder: str | Path | None, settings: Search) -> VectorStore:
    store = VectorStore(cache_folder("mining") if folder is None else Path(folder), ram_gb=settings.ram_gb / 2)
    if folder is None:
        store.trim(KEPT)
    return store


def _path(given: str | Path | None) -> Path | None:
    return None if given is None else Path(given)


def _about(
    gathered: Gathered, table: MinedTable, settings: Search, ends: Sides, rules: Sequence[Filter]
) -> dict[str, Any]:
    """What stands in the file's metadata."""
    notes = Counter[str]()
    for rule in rules:
        notes.update(getattr(rule, "notes", {}))
    problem, report = gathered.problem, table.report
    counts = {
        "queries": len(problem.queries),
        "positives": sum(map(len, problem.positives)),
        "documents": len(problem.documents),
        **{name: report[name] for name in ("candidates", "negatives", "without")},
    }
    return {
        "embedkit": __version__,
        "model": {"name": _public(ends.name), "fingerprint": ends.fingerprint, "spaces": ends.by.spaces},
        "data": {"digest": problem.digest, "left_out": gathered.left_out, "notes": gathered.notes},
        "settings": settings.model_dump(mode="json"),
        "counts": counts,
        "filters": report["removed"],
        "unscored": dict(notes),
        "index": report["index"],
        "suspects": report["suspects"],
        "seconds": report["seconds"],
    }


def _read_lines(gathered: Gathered, settings: Search) -> list[str]:
    problem = gathered.problem
    known, count = sum(map(len, problem.positives)), len(problem.documents)
    lines = [*gathered.remarks]
    lines += [f"{number:,} {what}" for what, number in gathered.notes.items()]
    lines += [f"{number:,} rows left out: {why}" for why, number in gathered.left_out.items()]
    answered = f"{known:,} positives" if known else "no positives (unlabelled)"
    lines.append(f"{len(problem.queries):,} queries with {answered}, {count:,} documents")
    if problem.marks:
        lines.append(f"{' and '.join(problem.marks)} of every positive: in columns of these names, for `roles`")
    if settings.depth > count:
        lines.append(f"depth {settings.depth:,} is more than the corpus has: all {count:,} documents are retrieved")
    return lines


def _found_lines(found: Audit, rows: int, out: Path) -> list[str]:
    report = found.table.report
    removed = ", ".join(f"{name} {count:,}" for name, count in report["removed"].items())
    known = any(found.problem.positives)
    suspects = f"; {report['suspects']:.1%} score as high as the query's lowest positive" if known else ""
    return [
        IndexReport(**report["index"]).line(),
        f"{report['candidates']:,} candidates, removed by {removed}",
        *(f"{count:,} {what}" for what, count in found.about["unscored"].items()),
        f"{report['negatives']:,} negatives, {report['without']:,} of {len(found.table):,} queries have none{suspects}",
        f"{rows:,} rows -> {out}",
    ]


def _public(model: str) -> str:
    """A name that may be passed on: not where on this machine it is."""
    names = [Path(name).name if Path(name).is_absolute() else name for name, _ in concatenated.parts(model)]
    return concatenated.SIGN.join(names)
