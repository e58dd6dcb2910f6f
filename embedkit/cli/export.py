"""``embedkit export``: a model for another runtime, compared with the model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from embedkit.cli.console import go_offline, say
from embedkit.cli.options import AsJson, Offline
from embedkit.errors import RecipeError

To = Annotated[
    str,
    typer.Option(
        "--to",
        metavar="NAME",
        help="onnx, int8 (ONNX, int8 weights), openvino, gguf, gguf-f16 or gguf-q8_0 (llama.cpp), static (a vector per "
        "token), or torch (with --dim).",
    ),
]
Dim = Annotated[
    int | None,
    typer.Option(
        "--dim",
        metavar="N",
        min=1,
        help="Keep the first N numbers of an embedding (Matryoshka); of static, N directions.",
    ),
]
Texts = Annotated[
    Path | None,
    typer.Option("--texts", metavar="FILE", help="What is compared: txt, jsonl, csv, tsv, parquet; else the suite's."),
]
MinCosine = Annotated[
    float | None,
    typer.Option(
        "--min-cosine",
        metavar="X",
        min=-1.0,
        max=1.0,
        help="Refuse below it; 0.9999, int8 0.9, gguf-q8_0 0.99.",
    ),
]
MaxLoss = Annotated[
    float | None,
    typer.Option("--max-loss", metavar="POINTS", min=0.0, help="Refuse where the suite's average falls by more."),
]


def export(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A folder, or a Hub id.")],
    to: To,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="The export.")],
    dim: Dim = None,
    texts: Texts = None,
    column: Annotated[
        str, typer.Option("--column", metavar="NAME", help="Of the texts; a txt file has none.")
    ] = "text",
    suite: Annotated[
        str | None, typer.Option("--suite", metavar="SUITE", help="Measure the model and the export, e.g. sts:STS-B.")
    ] = None,
    data: Annotated[Path | None, typer.Option("--data", metavar="DIR", help="Where the suite's files are.")] = None,
    min_cosine: MinCosine = None,
    max_loss: MaxLoss = None,
    keep_weights: Annotated[
        bool, typer.Option("--keep-weights", help="Keep the weights for PyTorch too, to publish both.")
    ] = False,
    json: AsJson = False,
    offline: Offline = False,
) -> None:
    """Export a model to another runtime, read the export back, and say how far it is from the model.

    Compared are the embeddings of real texts (cosine of each text, the largest difference), the size, the texts
    encoded in a second, and with --suite what is measured of both. What gives other embeddings is refused with exit
    code 1, and nothing is left behind.

    \b
      embedkit export runs/a/model --to onnx --out exports/onnx
      embedkit export runs/a/model --to int8 --out exports/int8 --suite sts:STS-B --data path/to/data --max-loss 0.5
      embedkit export runs/a/model --to openvino --dim 128 --out exports/openvino --texts corpus.jsonl --column body
      embedkit export runs/a/model --to gguf-f16 --out exports/gguf
      embedkit export runs/a/model --to static --out exports/static --suite sts:STS-B --data path/to/data

    The folder has the layout of sentence-transformers and the Hub (onnx/model.onnx beside tokenizer and pooling);
    embedkit_export.json in it holds all that was compared.
    """
    go_offline(offline)
    from embedkit import run as run_
    from embedkit.foreign.showing import as_json

    if data is not None and suite is None:
        raise RecipeError("is for the files of a suite, and none is measured", "--data", "add --suite, or leave it out")
    found = run_.export(
        model,
        to,
        out,
        dim=dim,
        texts=_sample(texts, column),
        suite=suite,
        data=data,
        min_cosine=min_cosine,
        max_loss=max_loss,
        keep_weights=keep_weights,
        say=(lambda line: say(line, stderr=True)) if json else say,
    )
    if json:
        typer.echo(as_json(found.plain()))


def _sample(file: Path | None, column: str) -> list[str] | None:
    if file is None:
        return None
    from embedkit.data.column import TextColumn

    return TextColumn(file, column).sample
