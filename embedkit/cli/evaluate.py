"""``embedkit eval``: measure a model on a suite, alone or against another."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from embedkit.cli.console import go_offline, say
from embedkit.cli.options import Offline
from embedkit.foreign.limits import SEED


def evaluate(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A folder, or a Hub id.")],
    suite: Annotated[
        str, typer.Option("--suite", metavar="SUITE", help="A shipped suite (sts, sts:STS-B,SICK-R) or a YAML file.")
    ],
    data: Annotated[Path | None, typer.Option("--data", metavar="DIR", help="Where the suite's files are.")] = None,
    out: Annotated[Path | None, typer.Option("--out", metavar="DIR", help="Write scores.json here.")] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the scores of another model or suite in --out.")
    ] = False,
    compare: Annotated[
        str | None, typer.Option("--compare", metavar="BASE", help="Measure BASE too; paired on the same resamples.")
    ] = None,
    resamples: Annotated[
        int, typer.Option("--resamples", metavar="N", min=0, help="Bootstrap resamples; 0 leaves intervals out.")
    ] = 1000,
    seed: Annotated[int, typer.Option("--seed", metavar="N", min=0, max=SEED, help="Of the bootstrap.")] = 0,
    batch_tokens: Annotated[
        int, typer.Option("--batch-tokens", metavar="N", min=16, help="Padded tokens per batch.")
    ] = 8192,
    geometry: Annotated[
        bool, typer.Option("--geometry", help="Also alignment, uniformity, anisotropy and ranks (STS tasks).")
    ] = False,
    offline: Offline = False,
) -> None:
    """Measure a model: correlations on STS, ranking on retrieval, each with a bootstrap interval.

    \b
      embedkit eval runs/a/model --suite sts --data path/to/data
      embedkit eval runs/a/model --suite my-suite.yaml --out scores
      embedkit eval runs/a/model --suite sts:STS-B --geometry --data path/to/data
      embedkit eval runs/a/model --suite sts:STS-B --compare sentence-transformers/all-MiniLM-L6-v2
    """
    go_offline(offline)
    from embedkit import run

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
        say=say,
    )
