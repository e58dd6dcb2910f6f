"""Arguments that several verbs share."""

from __future__ import annotations

from typing import Annotated

import typer

Recipe = Annotated[str, typer.Argument(metavar="RECIPE", help="A YAML file, or a shipped name such as unsup/simcse.")]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(metavar="KEY=VAL", help="Overrides, e.g. train.batch_size=128 model.base=path/to/model."),
]
Processes = Annotated[
    int, typer.Option("--nproc", metavar="N", min=1, help="Processes; batch_size is over all of them.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else to stdout.")]
Offline = Annotated[bool, typer.Option("--offline", help="Never ask the Hub: cache, local files and the extra only.")]

Engine = Annotated[
    str,
    typer.Option("--engine", metavar="NAME", help="local, or ray: on a Ray cluster (extra ray); see docs/scale.md."),
]
