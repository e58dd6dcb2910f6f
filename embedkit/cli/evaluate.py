"""``embedkit eval``: measure a model on a suite, alone or against another."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from embedkit.cli.console import go_offline, say
from embedkit.cli.options import Offline
from embedkit.errors import RecipeError
from embedkit.foreign.limits import SEED

if TYPE_CHECKING:
    from embedkit.run.evaluating import Evaluated


Model = Annotated[
    str | None, typer.Argument(metavar="MODEL", help="A folder, or a Hub id; A+B: their embeddings concatenated.")
]
Endpoint = Annotated[
    str | None, typer.Option("--endpoint", metavar="URL", help="Measure a server of embeddings; compare it with MODEL.")
]
ServedName = Annotated[
    str | None, typer.Option("--served-name", metavar="NAME", help="What the server calls the model; default: MODEL.")
]
KeyEnv = Annotated[
    str, typer.Option("--key-env", metavar="VAR", help="Environment variable that holds the server's key.")
]
Submit = Annotated[
    Path | None, typer.Option("--submit", metavar="DIR", help="Check the mteb results of an --out; nothing else.")
]
FailIfWorse = Annotated[
    bool, typer.Option("--fail-if-worse", help="Exit code 1 when the verdict on --compare is WORSE.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print scores, comparison and verdict as one JSON document only.")]
FirstStage = Annotated[
    str | None,
    typer.Option(
        "--first-stage", metavar="MODEL", help="Of a reranker: the bi-encoder whose results it puts in order."
    ),
]
Depth = Annotated[
    int, typer.Option("--depth", metavar="N", min=1, help="Of a reranker: documents per query that it orders.")
]
Weight = Annotated[
    float | None,
    typer.Option(
        "--first-stage-weight",
        metavar="W",
        help="Of a reranker: order by the first stage's score + W x sigmoid(its own). Default: by its own alone.",
    ),
]
Resamples = Annotated[
    int, typer.Option("--resamples", metavar="N", min=0, help="Bootstrap resamples; 0 leaves intervals out.")
]
BatchTokens = Annotated[int, typer.Option("--batch-tokens", metavar="N", min=16, help="Padded tokens per batch.")]
Geometry = Annotated[
    bool, typer.Option("--geometry", help="Also alignment, uniformity, anisotropy and ranks (STS tasks).")
]
Embeddings = Annotated[
    str,
    typer.Option(
        "--embeddings",
        metavar="FORMS",
        help="Also with embeddings in fewer bytes: int8,binary,truncate=N, or two as truncate=128+int8.",
    ),
]
_SUITE = "A shipped suite (sts, sts:STS-B,SICK-R), a YAML file, or mteb:NAMES (tasks, benchmarks) or mteb:FILE."


def evaluate(
    model: Model = None,
    suite: Annotated[str | None, typer.Option("--suite", metavar="SUITE", help=_SUITE)] = None,
    data: Annotated[Path | None, typer.Option("--data", metavar="DIR", help="Where the suite's files are.")] = None,
    out: Annotated[Path | None, typer.Option("--out", metavar="DIR", help="Write scores.json here.")] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the scores of another model or suite in --out.")
    ] = False,
    compare: Annotated[
        str | None, typer.Option("--compare", metavar="BASE", help="Measure BASE too; paired on the same resamples.")
    ] = None,
    resamples: Resamples = 1000,
    seed: Annotated[int, typer.Option("--seed", metavar="N", min=0, max=SEED, help="Of the bootstrap.")] = 0,
    batch_tokens: BatchTokens = 8192,
    geometry: Geometry = False,
    embeddings: Embeddings = "",
    first_stage: FirstStage = None,
    depth: Depth = 100,
    first_stage_weight: Weight = None,
    fail_if_worse: FailIfWorse = False,
    as_json: AsJson = False,
    endpoint: Endpoint = None,
    served_name: ServedName = None,
    key_env: KeyEnv = "OPENAI_API_KEY",
    submit: Submit = None,
    offline: Offline = False,
) -> None:
    """Measure a model: correlations on STS, ranking on retrieval, each with a bootstrap interval; or tasks of mteb.

    \b
      embedkit eval runs/a/model --suite sts --data path/to/data
      embedkit eval runs/a/model --suite my-suite.yaml --out scores
      embedkit eval runs/a/model --suite sts:STS-B --geometry --data path/to/data
      embedkit eval runs/a/model --suite my-suite.yaml --embeddings int8,binary,truncate=128
      embedkit eval runs/a/model --suite sts:STS-B --compare sentence-transformers/all-MiniLM-L6-v2
      embedkit eval runs/a/model+runs/b/model --suite sts:STS-B --compare runs/a/model
      embedkit eval runs/a/model --suite sts --endpoint http://localhost:8080/v1
      embedkit eval user/model --suite mteb:NanoBEIR,STS12 --out scores
      embedkit eval runs/reranker/model --suite my-suite.yaml --first-stage runs/a/model --compare runs/a/model
      embedkit eval --submit scores

    With --compare the last line is for scripts, its word BETTER, WORSE or UNCLEAR:

    \b
      VERDICT: BETTER | task/metric | base | new | difference [interval]
    """
    go_offline(offline)
    from embedkit import run

    if submit is not None:
        _submit(submit)
        return
    model = _given(model, "MODEL", "a folder, or a Hub id")
    if endpoint is not None:
        _served(model, endpoint, suite=suite, data=data, name=served_name, key_env=key_env, resamples=resamples)
        return
    suite = _given(suite, "--suite", "e.g. --suite sts")
    if fail_if_worse and compare is None:
        raise RecipeError("there is nothing to be worse than", "--fail-if-worse", "add --compare BASE")
    run.evaluate(
        model,
        suite,
        data=data,
        out=out,
        overwrite=overwrite,
        compare=compare,
        resamples=resamples,
        seed=seed,
        batch_tokens=batch_tokens,
        geometry=geometry,
        embeddings=embeddings,
        first_stage=first_stage,
        depth=depth,
        first_stage_weight=first_stage_weight,
        say=(lambda line: say(line, stderr=True)) if as_json else say,
        answer=lambda found: _answer(found, as_json, fail_if_worse),
    )


def _given(value: str | None, name: str, cure: str) -> str:
    if value is None:
        raise RecipeError(f"{name} is missing", "eval", cure)
    return value


def _served(model: str, endpoint: str, **options: Any) -> None:
    """Measure a server; exit code 1 where it gives other embeddings than the model."""
    from embedkit import run

    if not run.evaluate_served(model, endpoint, say=say, **options).same:
        raise typer.Exit(1)


def _submit(folder: Path) -> None:
    """Say what mteb reads in a folder, and what speaks against a submission."""
    from embedkit.evaluation.mteb import submission

    found = submission.check(folder)
    for one in found:
        say(f"{one.model} at {one.revision}: {len(one.tasks)} tasks can be submitted: {', '.join(one.tasks) or 'none'}")
    submission.refuse(found)


def _answer(found: Evaluated, as_json: bool, fail_if_worse: bool) -> None:
    """What a script reads, and the exit code."""
    from embedkit.evaluation import verdict
    from embedkit.foreign.showing import as_json as encoded

    if as_json:
        typer.echo(encoded(found.plain(), indent=2, allow_nan=False))
    elif found.comparison:
        typer.echo(verdict.line(found.comparison))
    if fail_if_worse and verdict.verdict(verdict.headline(found.comparison)) == verdict.WORSE:
        raise typer.Exit(1)
