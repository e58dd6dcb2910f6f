"""``embedkit synth``: training data from a language model, local or behind an endpoint."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from embedkit.cli.console import go_offline, say
from embedkit.cli.options import Offline
from embedkit.errors import RecipeError
from embedkit.foreign.limits import SEED
from embedkit.foreign.parsing import from_json

if TYPE_CHECKING:
    from embedkit.synthesis.calls import Backend

Text = Annotated[
    Path | None, typer.Option("--text", metavar="FILE", help="Texts to start from: txt, jsonl, csv, tsv, parquet.")
]
Out = Annotated[Path | None, typer.Option("--out", metavar="FILE.jsonl", help="The data file.")]
Model = Annotated[
    str | None,
    typer.Option(
        "--model", metavar="MODEL", help="A folder or Hub id of a causal LM; with --endpoint, the server's name."
    ),
]
Url = Annotated[
    str | None,
    typer.Option("--endpoint", metavar="URL", help="OpenAI-compatible server, e.g. http://localhost:8000/v1."),
]
Roles = Annotated[
    str | None, typer.Option("--roles", metavar="YAML", help="Columns, as in a recipe: '{text: sentence}'.")
]
BadRows = Annotated[bool, typer.Option("--skip-bad-rows", help="Leave bad rows out and count them.")]
PromptFile = Annotated[Path | None, typer.Option("--prompts", metavar="FILE", help="Your prompts, laid over ours.")]
ShowPrompts = Annotated[bool, typer.Option("--show-prompts", help="Print embedkit's prompts (YAML) and stop.")]
Count = Annotated[int | None, typer.Option("--count", metavar="N", min=1, help="Sentences to write (syncse-scratch).")]
Limit = Annotated[int | None, typer.Option("--limit", metavar="N", min=1, help="Use the first N texts.")]
Seed = Annotated[
    int, typer.Option("--seed", metavar="N", min=0, max=SEED, help="Of everything drawn, sampling included.")
]
CacheFile = Annotated[Path | None, typer.Option("--cache", metavar="FILE", help="Answers; default: OUT with .cache.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show first prompts and number of calls; call nothing.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace OUT; answers in the cache are used again.")]
KeyEnv = Annotated[str, typer.Option("--key-env", metavar="NAME", help="Environment variable that holds the key.")]
Concurrency = Annotated[int, typer.Option("--concurrency", metavar="N", min=1, help="Requests at once.")]
Retries = Annotated[
    int, typer.Option("--retries", metavar="N", min=0, help="After 429, 5xx, a timeout, a broken answer.")
]
Timeout = Annotated[
    float,
    typer.Option("--timeout", metavar="SECONDS", min=0.1, max=86400, help="Seconds without a byte."),
]
Body = Annotated[str | None, typer.Option("--body", metavar="JSON", help="Laid over requests; null removes a field.")]
Deadline = Annotated[
    float,
    typer.Option("--deadline", metavar="SECONDS", min=0.1, max=86400, help="Seconds of one request at most."),
]
PriceIn = Annotated[
    float | None, typer.Option("--price-in", metavar="X", min=0, help="Price of a million prompt tokens.")
]
PriceOut = Annotated[
    float | None, typer.Option("--price-out", metavar="X", min=0, help="Price of a million answer tokens.")
]
Batch = Annotated[int, typer.Option("--batch-size", metavar="N", min=1, help="Calls at once in a local model.")]
Device = Annotated[str, typer.Option("--device", metavar="NAME", help="auto, cpu, cuda or mps, for a local model.")]
Dtype = Annotated[
    str, typer.Option("--dtype", metavar="NAME", help="auto, float32, bfloat16 or float16, for a local model.")
]


def synth(
    task: Annotated[
        str,
        typer.Argument(metavar="TASK", help="claif, clhaif, syncse-partial, syncse-scratch, queries or paraphrases."),
    ],
    text: Text = None,
    out: Out = None,
    model: Model = None,
    endpoint: Url = None,
    roles: Roles = None,
    count: Count = None,
    limit: Limit = None,
    prompts: PromptFile = None,
    show_prompts: ShowPrompts = False,
    seed: Seed = 0,
    cache: CacheFile = None,
    dry_run: DryRun = False,
    overwrite: Overwrite = False,
    skip_bad_rows: BadRows = False,
    key_env: KeyEnv = "OPENAI_API_KEY",
    concurrency: Concurrency = 8,
    retries: Retries = 6,
    timeout: Timeout = 120.0,
    deadline: Deadline = 600.0,
    body: Body = None,
    price_in: PriceIn = None,
    price_out: PriceOut = None,
    batch_size: Batch = 8,
    device: Device = "auto",
    dtype: Dtype = "auto",
    offline: Offline = False,
) -> None:
    """Make training data with a language model: scored pairs (claif), scores (clhaif), triplets (syncse), queries,
    paraphrases.

    Run it again after an interruption: what was answered is kept in OUT's .cache and is not asked again.

    \b
      embedkit synth claif --text sentences.txt --out pairs.jsonl --model Qwen/Qwen2.5-1.5B-Instruct
      embedkit synth syncse-partial --text sentences.txt --out t.jsonl --endpoint http://localhost:8000/v1 --model NAME
      embedkit synth syncse-scratch --count 1000 --out triplets.jsonl --model Qwen/Qwen2.5-1.5B-Instruct --dry-run
    """
    go_offline(offline)
    local = {"batch_size": batch_size, "device": device, "dtype": dtype}
    remote = {"key_env": key_env, "concurrency": concurrency, "retries": retries, "timeout": timeout}
    remote["deadline"] = deadline
    given: dict[str, Any] = {
        "text": text,
        "count": count,
        "limit": limit,
        "prompts": prompts,
        "seed": seed,
        "cache": cache,
    }
    given |= {"price_in": price_in, "price_out": price_out, "on_bad_row": "skip" if skip_bad_rows else "error"}
    if show_prompts:
        _show_prompts()
        return
    _synth(task, out, {**given, "roles": _roles(roles)}, dry_run, overwrite, (model, endpoint, body, local, remote))


def _synth(task: str, out: Path | None, given: dict[str, Any], dry: bool, overwrite: bool, model: Any) -> None:
    if out is None:
        raise RecipeError("no data file is named", "--out", "e.g. --out pairs.jsonl")
    from embedkit.synthesis import produce

    settings = produce.Settings(task=task, out=out, **given)
    if dry:
        produce.dry_run(produce.prepare(settings), say)
        return
    produce.check(settings)
    try:
        record = produce.synthesize(settings, _backend(*model), overwrite=overwrite, progress=True)
    except KeyboardInterrupt as error:
        say("", stderr=True)
        kept = f"{settings.answers} keeps what was answered"
        say(f"interrupted; the same command goes on: {kept}", stderr=True)
        raise typer.Exit(130) from error
    for line in produce.summary(record, out):
        say(line)


def _backend(
    model: str | None, endpoint: str | None, body: str | None, local: dict[str, Any], remote: dict[str, Any]
) -> Callable[[], Backend]:
    """What makes the model; wrong options are told now."""
    if model is None:
        cure = "a folder or Hub id of a causal LM; with --endpoint, the name that the server knows"
        raise RecipeError("no language model is named", "--model", cure)
    if endpoint is None:
        if body is not None:
            raise RecipeError("changes a request, but there is no --endpoint", "--body", "leave it out")
        from embedkit.synthesis.local import LocalModel

        return lambda: LocalModel(model, **local)
    from embedkit.synthesis.endpoint import Endpoint

    reached = Endpoint(endpoint, model, body=_json(body), **remote)
    return lambda: reached


def _show_prompts() -> None:
    from embedkit.synthesis.prompts import OURS

    typer.echo(OURS.read_text(encoding="utf-8"), nl=False)


def _roles(text: str | None) -> dict[str, Any]:
    from embedkit.recipe.reading.tree import parse

    try:
        value = parse(text, "--roles").plain() if text else {}
    except RecipeError:
        value = None
    if not isinstance(value, dict):
        raise RecipeError(f"not a mapping: {text}", "--roles", "e.g. --roles '{query: sent0, positive: sent1}'")
    return value


def _json(text: str | None) -> dict[str, Any]:

    try:
        value = from_json(text) if text else {}
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise RecipeError("not a JSON object", "--body", """e.g. --body '{"max_completion_tokens": 64}'""")
    return value
