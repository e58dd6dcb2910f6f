"""``embedkit mine``: hard negatives of queries, found once and written to a file that training reads."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Annotated, Any

import typer

from embedkit.cli.console import go_offline, say
from embedkit.cli.help import WIDTH
from embedkit.cli.options import Engine, Offline
from embedkit.recipe.filters import FILTERS, RULE_HELP, SYNTH

Out = Annotated[Path, typer.Option("--out", metavar="F.parquet", help="The negatives.")]
Model = Annotated[
    str | None,
    typer.Option("--model", metavar="MODEL", help="Encodes: a folder, or a Hub id; A+B: both, concatenated."),
]
Beir = Annotated[Path | None, typer.Option("--beir", metavar="DIR", help="corpus.jsonl, queries.jsonl, qrels/.")]
Split = Annotated[str, typer.Option("--split", metavar="NAME", help="Of the BEIR folder's qrels.")]
Queries = Annotated[
    str | None,
    typer.Option(
        "--queries", metavar="FILE", help="Columns query, positive (texts, if known), query_id or id, weight, grade."
    ),
]
Corpus = Annotated[
    str | None,
    typer.Option("--corpus", metavar="FILE", help="Columns text, title, _id or id. Without it: the positives."),
]
QueriesFrom = Annotated[
    str | None,
    typer.Option(
        "--queries-from",
        metavar="title|synth:MODEL",
        help="Unlabelled: titles ask for the texts they stand over, or a language model writes queries; see the end.",
    ),
]
Recipe = Annotated[
    str | None, typer.Option("--recipe", metavar="RECIPE", help="Its sources, model and mining block are taken.")
]
Depth = Annotated[int | None, typer.Option("--depth", metavar="K", min=1, help="Documents retrieved a query (100).")]
Keep = Annotated[int | None, typer.Option("--keep", metavar="N", min=1, help="Negatives a query, at most (8).")]
Filters = Annotated[
    list[str] | None,
    typer.Option("--filter", metavar="NAME=ARG", help="Again for each, applied in this order; see the end."),
]
Choose = Annotated[
    str | None, typer.Option("--choose", metavar="NAME", help="Of those left: best, even, simans or stride (best).")
]
Index = Annotated[str | None, typer.Option("--index", metavar="NAME", help="auto, exact, ivf, ivf-pq or hnsw (auto).")]
Recall = Annotated[
    float | None, typer.Option("--recall", metavar="R", help="Recall@50 that an approximate index must reach.")
]
Ram = Annotated[float | None, typer.Option("--ram", metavar="GB", help="For vectors and index, besides the model (4).")]
Seed = Annotated[int | None, typer.Option("--seed", metavar="N", min=0, help="Of draws, index and its probe (0).")]
QueryVectors = Annotated[
    Path | None, typer.Option("--query-vectors", metavar="F.npy", help="Given vectors, or a folder of `encode`.")
]
QueryIds = Annotated[
    Path | None, typer.Option("--query-ids", metavar="FILE", help="Their ids: npy, jsonl, or one a line.")
]
CorpusVectors = Annotated[
    Path | None, typer.Option("--corpus-vectors", metavar="F.npy", help="The same for the documents.")
]
CorpusIds = Annotated[Path | None, typer.Option("--corpus-ids", metavar="FILE", help="The same for the documents.")]
Normalize = Annotated[bool, typer.Option("--normalize", help="Scale given vectors to length 1.")]
Store = Annotated[
    Path | None, typer.Option("--store", metavar="DIR", help="Keeps vectors for the next time; default: the cache.")
]
Export = Annotated[
    Path | None,
    typer.Option("--export", metavar="FILE", help="For sentence-transformers: anchor, positive, negative_1, ..."),
]
ExportNegatives = Annotated[
    int | None, typer.Option("--export-negatives", metavar="N", min=1, help="Of every such tuple; default: --keep.")
]
Audit = Annotated[
    Path | None, typer.Option("--audit", metavar="DIR", help="A page: scores, ranks, filters, suspects with texts.")
]
Teacher = Annotated[
    str | None,
    typer.Option(
        "--teacher",
        metavar="MODEL",
        help="A cross-encoder, or guide=MODEL: its scores of the candidates, for distillation.",
    ),
]
MaxLength = Annotated[
    int | None, typer.Option("--max-length", metavar="N", min=3, help="Tokens per text; default: the model's.")
]
BatchTokens = Annotated[int, typer.Option("--batch-tokens", metavar="N", min=16, help="Padded tokens per batch.")]
Device = Annotated[str, typer.Option("--device", metavar="NAME", help="auto, cpu, cuda or mps.")]
Skip = Annotated[bool, typer.Option("--skip-bad-rows", help="Leave bad rows out and count them.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")]


def mine(
    out: Out,
    model: Model = None,
    beir: Beir = None,
    split: Split = "train",
    queries: Queries = None,
    corpus: Corpus = None,
    queries_from: QueriesFrom = None,
    recipe: Recipe = None,
    depth: Depth = None,
    keep: Keep = None,
    filters: Filters = None,
    choose: Choose = None,
    index: Index = None,
    recall: Recall = None,
    ram: Ram = None,
    seed: Seed = None,
    query_vectors: QueryVectors = None,
    query_ids: QueryIds = None,
    corpus_vectors: CorpusVectors = None,
    corpus_ids: CorpusIds = None,
    normalize: Normalize = False,
    export: Export = None,
    export_negatives: ExportNegatives = None,
    audit: Audit = None,
    store: Store = None,
    max_length: MaxLength = None,
    batch_tokens: BatchTokens = 8192,
    device: Device = "auto",
    skip: Skip = False,
    overwrite: Overwrite = False,
    teacher: Teacher = None,
    engine: Engine = "local",
    offline: Offline = False,
) -> None:
    """Find hard negatives: documents that a model puts near a query and that do not answer it.

    F.parquet has a row for each query and positive, with the columns query_id, query, positive_id, positive,
    negative_id, negative, positive_score, negative_score and negative_rank, and how it was made in its metadata.
    `embedkit train` reads it as it is. A recipe's mining block has the same settings; options go before it.

    Known positives, the query itself and texts that repeat never become negatives. Interrupted, or killed, the same
    command goes on where it stopped.

    \b
      embedkit mine --model path/to/model --beir data/scifact --split train --out mined.parquet
      embedkit mine --model path/to/model --queries q.jsonl --corpus c.jsonl --depth 200 --keep 4 --out mined.parquet
      embedkit mine --model path/to/model --corpus wiki.jsonl --queries-from title --out mined.parquet --audit audit
      embedkit mine --model path/to/model --corpus c.jsonl --queries-from synth:path/to/lm,limit=1000 --out m.parquet
    """
    go_offline(offline)
    from embedkit.run.mining_job import mine
    from embedkit.run.mining_vectors import Given

    data = {"beir": beir, "split": split, "queries": queries, "corpus": corpus, "queries_from": queries_from}
    search = {"depth": depth, "keep": keep, "filters": filters, "choose": choose, "index": index, "recall": recall}
    search |= {"ram_gb": ram, "seed": seed}
    beside = {"export": export, "export_negatives": export_negatives, "audit": audit, "store": store, "engine": engine}
    beside |= {"teacher": teacher}
    options: dict[str, Any] = {**data, **beside, **{k: v for k, v in search.items() if v not in (None, [])}}
    mine(
        model,
        out=out,
        recipe=recipe,
        given=Given(query_vectors, corpus_vectors, query_ids, corpus_ids, normalize),
        max_length=max_length,
        batch_tokens=batch_tokens,
        device=device,
        skip_bad_rows=skip,
        overwrite=overwrite,
        say=say,
        **options,
    )


def filters_help() -> str:
    """What `--filter` takes, for the end of the help."""
    lines = [f"{name}={kind.form}: {kind.help}" for name, kind in FILTERS.items()]
    wrapped = [textwrap.fill(line, WIDTH - 4, subsequent_indent="    ", break_on_hyphens=False) for line in lines]
    synth = f"--queries-from synth:{SYNTH.form}: {SYNTH.help}; further {', '.join(SYNTH.settings)}=X after commas."
    return "\n".join(
        [synth, "", "\b", "Filters:", *textwrap.indent("\n".join(wrapped), "  ").splitlines(), "", RULE_HELP]
    )
