"""``embedkit whiten``: fit a whitening on text and make it part of a model."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast, get_args

import typer

from embedkit.cli.console import go_offline, say
from embedkit.cli.options import Offline
from embedkit.errors import DataError, EmbedkitError, RecipeError, about
from embedkit.terminal.progress import progress

if TYPE_CHECKING:
    from embedkit.data.sources import LoadedSource
    from embedkit.model.running.encoder import Encoder
    from embedkit.recipe.suite import Suite
    from embedkit.types import Scores

BLOCK = 16_384
"""Texts embedded at once: all that is ever in memory."""

Texts = Annotated[
    list[Path], typer.Option("--text", metavar="FILE", help="Texts to fit on (txt, or a `text` column); repeatable.")
]
Out = Annotated[Path, typer.Option("--out", metavar="DIR", help="The whitened model.")]
Way = Annotated[
    str, typer.Option("--kind", metavar="NAME", help="pca may be cut to --dim; zca keeps the original axes.")
]
Dim = Annotated[
    int | None, typer.Option("--dim", metavar="N", min=1, help="Dimensions kept (pca); default: all that vary.")
]
Eps = Annotated[float, typer.Option("--eps", metavar="X", min=0.0, help="Added to each variance before its root.")]
Limit = Annotated[int | None, typer.Option("--limit", metavar="N", min=1, help="Use the first N texts only.")]
Pooled = Annotated[
    str | None,
    typer.Option("--pooling", metavar="NAME", help="Change the pooling first, e.g. first_last_mean as in the paper."),
]
Role = Annotated[str, typer.Option("--role", metavar="NAME", help="query or document: whose prompt the texts get.")]
Normalize = Annotated[bool, typer.Option("--normalize", help="End with a Normalize even if MODEL has none.")]
SuiteName = Annotated[
    str | None, typer.Option("--suite", metavar="SUITE", help="Measure before and after, e.g. sts, and compare.")
]
Data = Annotated[Path | None, typer.Option("--data", metavar="DIR", help="Where the suite's files are.")]
Tokens = Annotated[int, typer.Option("--batch-tokens", metavar="N", min=16, help="Padded tokens per batch.")]


def whiten(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A folder, or a Hub id.")],
    text: Texts,
    out: Out,
    kind: Way = "pca",
    dim: Dim = None,
    eps: Eps = 0.0,
    limit: Limit = None,
    pooling: Pooled = None,
    role: Role = "query",
    normalize: Normalize = False,
    suite: SuiteName = None,
    data: Data = None,
    batch_tokens: Tokens = 8192,
    offline: Offline = False,
) -> None:
    """Whiten a model's embeddings: mean 0 and covariance I over your texts; no training.

    The result is a plain sentence-transformers model with one Dense module more.

    \b
      embedkit whiten path/to/model --text sentences.txt --out whitened
      embedkit whiten path/to/model --text a.txt --text b.txt --dim 128 --out whitened --suite sts --data path/to/data
    """
    go_offline(offline)
    from embedkit.disk.locks import hold_file
    from embedkit.evaluation import suite as suites
    from embedkit.model.changing import whitening
    from embedkit.run.environment import quiet_libraries

    quiet_libraries()

    _one_of(kind, get_args(whitening.Kind), "--kind")
    _one_of(role, ("query", "document"), "--role")
    if data is not None and suite is None:
        raise RecipeError("is for the files of a suite, and none is measured", "--data", "add --suite, or leave it out")
    place = Path(os.path.realpath(out))
    with hold_file(place, "whitening"):
        _refuse_filled(out)
        chosen = suites.load_suite(suite, data) if suite else None
        sources = _open(text, limit)
        encoder = _load(model, pooling)
        count, width, way = sum(source.rows or 0 for source in sources), encoder.dim, cast("whitening.Kind", kind)
        whitening.check(way, count, width, dim)
        before = _measure(encoder, chosen, model, batch_tokens)
        with progress("fitting", count, "texts") as bar:
            options: dict[str, Any] = {
                "eps": eps,
                "normalize": normalize,
                "role": role,
                "batch_tokens": batch_tokens,
                "seen": bar.advance,
            }
            found = whitening.whiten(encoder, _blocks(sources), kind=way, dim=dim, **options)
        _save(encoder, place, role)
        flat = width - int((found.variances > whitening.FLAT * found.variances[0]).sum())
        say(
            f"{kind} whitening over {found.count:,} texts: {width} -> {found.dim} dimensions, "
            f"{100 * found.explained:.2f} % of the variance, largest / smallest variance {found.condition:.3g}"
            + (f"; {flat} without variance" + (" left out" if eps == 0 else "") if flat else "")
        )
        after = _measure(encoder, chosen, str(out), batch_tokens)
        if before is not None and after is not None:
            suites.write_scores(before, out / "eval" / "before")
            suites.write_scores(after, out / "eval" / "after")
            say(suites.table(before))
            say(suites.table(after, before, suites.compare(before, after)))
        say(f"model: {out}")


def _refuse_filled(out: Path) -> None:
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise EmbedkitError("exists and is not empty", str(out), "choose another --out, or remove it")


def _one_of(value: str, known: tuple[str, ...], option: str) -> None:
    if value not in known:
        raise RecipeError(f"there is no {value!r}", option, f"one of {', '.join(known)}")


def _load(model: str, pooling: str | None) -> Encoder:
    from embedkit.model.running.encoder import Encoder
    from embedkit.recipe.schema import Model, Pooling

    if pooling is not None:
        _one_of(pooling, get_args(Pooling), "--pooling")
    with about("MODEL", "model.base"), about("--pooling", "model.pooling"):
        return Encoder.load(Model.model_validate({"base": model, "pooling": pooling}))


def _open(files: list[Path], limit: int | None) -> list[LoadedSource]:
    """The files as sources, `limit` texts of all of them together."""
    from embedkit.data.sources import load_source
    from embedkit.inputs.cures import PLAIN
    from embedkit.recipe.load import made
    from embedkit.recipe.schema import Source

    found: list[LoadedSource] = []
    for file in files:
        left = None if limit is None else limit - sum(source.rows or 0 for source in found)
        if left == 0:
            break
        source = load_source(made(Source, path=str(file), limit=left), progress=True, cures=PLAIN)
        for line in source.remarks:
            say(f"{source.name}: {line}")
        if "text" not in source.roles:
            raise DataError(
                f"no column `text`: its columns are read as {', '.join(sorted(source.roles))}",
                str(file),
                "give a text file, one text per line, or a file with a column called text",
            )
        found.append(source)
    return found


def _blocks(sources: list[LoadedSource]) -> Iterator[list[str]]:
    for source in sources:
        rows = source.rows or 0
        for start in range(0, rows, BLOCK):
            yield [example.query for example in source.get(range(start, min(start + BLOCK, rows)))]


def _measure(encoder: Encoder, suite: Suite | None, name: str, batch_tokens: int) -> Scores | None:
    if suite is None:
        return None
    from embedkit.evaluation.suite import evaluate_suite

    return evaluate_suite(
        encoder, suite, batch_tokens=batch_tokens, model_name=name, progress=True, geometry=_has_sts(suite)
    )


def _has_sts(suite: Suite) -> bool:
    return any(task.type == "sts" for task in suite.tasks)


def _save(encoder: Encoder, out: Path, role: str) -> None:
    from embedkit.disk.files import OURS
    from embedkit.run.save import write_model

    cure = "raise --eps, or keep fewer dimensions: the weakest directions are stretched beyond single precision"
    staging = out.with_name(f"{OURS}-{out.name}-model")
    write_model(encoder, staging, out, cure=cure, role=role, relative=1e-3)
