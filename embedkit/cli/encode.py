"""``embedkit encode``: a file of texts to vectors that ``numpy.load`` reads."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from embedkit.cli.console import go_offline, say
from embedkit.cli.options import Engine, Offline
from embedkit.errors import RecipeError
from embedkit.types import ROLES

if TYPE_CHECKING:
    from embedkit.vectors.space import Dtype

DTYPES: dict[str, Dtype] = {"f32": "float32", "f16": "float16", "float32": "float32", "float16": "float16"}


def encode(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="A folder, or a Hub id; A+B: their embeddings concatenated.")
    ],
    texts: Annotated[Path, typer.Option("--texts", metavar="FILE", help="Texts: txt, jsonl, csv, tsv, parquet.")],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="The vectors; the same command goes on in it.")],
    column: Annotated[
        str, typer.Option("--column", metavar="NAME", help="Of the texts; a txt file has none.")
    ] = "text",
    ids: Annotated[
        str | None, typer.Option("--ids", metavar="NAME", help="Column of the ids; without one, lines are counted.")
    ] = None,
    role: Annotated[
        str, typer.Option("--role", metavar="NAME", help="query or document: whose prompt the texts get.")
    ] = "document",
    dtype: Annotated[str, typer.Option("--dtype", metavar="NAME", help="f32, or f16: half the size.")] = "f32",
    shards: Annotated[int, typer.Option("--shards", metavar="N", min=1, max=99_999, help="Files.")] = 1,
    max_length: Annotated[
        int | None, typer.Option("--max-length", metavar="N", min=3, help="Tokens per text; default: the model's.")
    ] = None,
    dim: Annotated[
        int | None,
        typer.Option("--dim", metavar="N", min=1, help="Leading dimensions kept (Matryoshka)."),
    ] = None,
    normalize: Annotated[bool, typer.Option("--normalize", help="Scale to length 1, after --dim.")] = False,
    skip: Annotated[bool, typer.Option("--skip-bad-rows", help="Leave bad rows out and count them.")] = False,
    batch_tokens: Annotated[
        int, typer.Option("--batch-tokens", metavar="N", min=16, help="Padded tokens per batch.")
    ] = 8192,
    ram: Annotated[
        float, typer.Option("--ram", metavar="GB", min=0.05, help="Memory for vectors, besides the model's.")
    ] = 2.0,
    device: Annotated[str, typer.Option("--device", metavar="NAME", help="auto, cpu, cuda or mps.")] = "auto",
    engine: Engine = "local",
    offline: Offline = False,
) -> None:
    """Encode a file of texts: DIR/vectors-00000-of-N.npy, in the order of the texts.

    Interrupted, or killed, the same command goes on where it stopped. A text that repeats is encoded once.

    Beside the vectors stand encode.json (model, fingerprint, prompt, size, count), lines.npy and, with --ids,
    ids.jsonl: the line and the id of every vector.

    \b
      embedkit encode path/to/model --texts corpus.txt --out vectors
      embedkit encode path/to/model --texts corpus.jsonl --column body --ids id --dtype f16 --shards 4 --out vectors
    """
    go_offline(offline)
    if role not in ROLES:
        raise RecipeError(f"there is no {role!r}", "--role", f"one of {', '.join(ROLES)}")
    if dtype not in DTYPES:
        raise RecipeError(f"there is no {dtype!r}", "--dtype", f"one of {', '.join(DTYPES)}")
    from embedkit.data.column import TextColumn
    from embedkit.inputs.cures import Cures
    from embedkit.run import encoding

    corpus = TextColumn(texts, column, ids=ids, skip=skip, cures=Cures(skip="add --skip-bad-rows"), progress=True)
    for line in corpus.bad.remarks:
        say(f"{texts}: {line}")
    settings = encoding.Settings(role, max_length, dim, DTYPES[dtype], normalize, batch_tokens)
    encoding.encode(model, corpus, out, settings, shards=shards, ram_gb=ram, device=device, engine=engine, say=say)
