"""What each part of retrieval training earns: settings x seeds, on the same pairs, measured on held-out queries.

Every setting is a shipped recipe with a few overrides (`SETTINGS`), trained as a user would, in a process of its own:
the same base, pairs, updates and learning rate. Finished runs are kept in `--out` and not run again, so that an
interrupted study goes on, and a longer one grows from a shorter one. So it does from `--numbers`, which keeps what the
table is made of (the score of every query, seconds) without the models.

    python benchmarks/quality.py --out DIR [--data pydocs | --data FOLDER of a set in BEIR form with qrels/train.tsv]
        [--numbers FILE.json] [--settings in-batch,mined,...] [--against in-batch] [--seeds 3] [--steps 60]
        [--batch 32] [--guide MODEL] [--documents N]

Prints a table: nDCG@10 (mean over seeds, standard deviation), the difference to in-batch negatives, or to the setting
that `--against` names, with two intervals (over test queries: paired bootstrap of the seeds' mean; over seeds:
Student's), and how long training took with its searches. `better` and `worse` need both intervals on one side of zero.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
from common import Numbers, console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from benchmarks.compare.summary import paired
from embedkit.disk.files import write_text
from embedkit.evaluation.stats import generator, mean_draws
from embedkit.evaluation.store import load_scores
from embedkit.recipe.schema import DEFAULT_MODEL

REFERENCE, UNTRAINED = "in-batch", "untrained"
AWARE = "mining.filters=[margin=0.95]"
SETTINGS: dict[str, tuple[str, list[str]]] = {
    REFERENCE: ("retrieval/infonce", []),
    "mined": ("retrieval/mined", ["mining.filters=[]"]),
    "positive-aware": ("retrieval/mined", [AWARE]),
    "online": ("retrieval/ance", [AWARE, "mining.refresh.every={every}"]),
    "focal": ("retrieval/mined", [AWARE, "weighting=[{{name: focal, gamma: 0.5}}]"]),
    "dynamic": ("retrieval/mined", [AWARE, "weighting=[{{name: dynamic, strategy: linupper}}]"]),
    "mixing": ("retrieval/mined", [AWARE, "objective.name=mixed_negatives"]),
    "pooled": ("retrieval/mined", [AWARE, "train.batch_size={twice}"]),
    "guide filter": ("retrieval/mined", ["mining.filters=[guide={guide}]"]),
    "guide in the loss": ("retrieval/infonce", ["guide.model={guide}", "objective.guide=absolute"]),
}
"""Recipe and overrides. `pooled` is what two processes of this batch size compute: one batch twice the size."""
RECIPES: dict[str, tuple[str, list[str]]] = {
    "mw": ("retrieval/mw", []),
    "matryoshka": ("retrieval/matryoshka", []),
    "lit": ("retrieval/lit", []),
    "prograd": ("retrieval/prograd", []),
    "guide as teacher": ("retrieval/distill", ["objective.terms.0.objective.teacher_temperature=0.05"]),
}
"""Shipped recipes as they are, where they are asked for; the last learns cosines of the guide."""
MINES = ("retrieval/mined", "retrieval/ance", "retrieval/mw", "retrieval/matryoshka")


def pairs_of(folder: Path, out: Path) -> Path:
    """The judged training pairs of a BEIR folder as (query, positive) rows; title and text joined by a space."""
    found = out / "pairs.jsonl"
    if found.is_file():
        return found
    corpus = {row["_id"]: f"{row.get('title', '')} {row['text']}".strip() for row in _rows(folder / "corpus.jsonl")}
    queries = {row["_id"]: row["text"] for row in _rows(folder / "queries.jsonl")}
    with (folder / "qrels" / "train.tsv").open(encoding="utf-8", newline="") as file:
        judged = [row for row in csv.DictReader(file, delimiter="\t") if int(row["score"]) > 0]
    lines = [json.dumps({"query": queries[r["query-id"]], "positive": corpus[r["corpus-id"]]}) for r in judged]
    found.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return found


def scored(args: argparse.Namespace, pairs: Path, corpus: Path, out: Path) -> Path:
    """Pairs with hard negatives and the guide's cosines of both."""
    made = out / "scored.parquet"
    if not made.is_file():
        what = ["--model", DEFAULT_MODEL, "--queries", str(pairs), "--corpus", str(corpus), "--keep", "7"]
        how = ["--max-length", str(args.max_length), "--teacher", f"guide={args.guide}", "--out", str(made)]
        subprocess.run([sys.executable, "-m", "embedkit", "mine", *what, *how], check=True)
    return made


def smaller(folder: Path, size: int, out: Path) -> Path:
    """A set of the name, with all judged documents of a BEIR folder and others drawn at random, `size` in all."""
    made = out / folder.name
    if (made / "corpus.jsonl").is_file():
        return made
    shutil.copytree(folder / "qrels", made / "qrels", dirs_exist_ok=True)
    shutil.copyfile(folder / "queries.jsonl", made / "queries.jsonl")
    judged: set[str] = set()
    for name in ("train", "test"):
        with (folder / "qrels" / f"{name}.tsv").open(encoding="utf-8", newline="") as file:
            judged |= {row["corpus-id"] for row in csv.DictReader(file, delimiter="\t")}
    rows = _rows(folder / "corpus.jsonl")
    others = [row["_id"] for row in rows if row["_id"] not in judged]
    kept = judged | {*np.random.default_rng(0).permutation(others)[: max(0, size - len(judged))].tolist()}
    write_text(made / "corpus.jsonl", "".join(json.dumps(row) + "\n" for row in rows if row["_id"] in kept))
    return made


def _rows(path: Path) -> list[dict[str, Any]]:
    with path.open(encoding="utf-8") as file:
        return [json.loads(line) for line in file if line.strip()]


def overrides(args: argparse.Namespace, name: str, seed: int, out: Path) -> list[str]:
    """Recipe and overrides of one run."""
    recipe, own = (SETTINGS | RECIPES)[name]
    if args.data == "pydocs":
        data = [f"data.sources=[{{pydocs: {{}}, limit: {args.limit}}}]"]
        data.append("eval.suite={name: pydocs, tasks: [{type: retrieval, name: pydocs, pydocs: {}, metric: ndcg@10}]}")
    else:
        folder = Path(args.data).resolve()
        task = (
            f"type: retrieval, name: {folder.name}, folder: '{folder}', metric: ndcg@10, max_length: {args.max_length}"
        )
        pairs = pairs_of(folder, out)
        if recipe == "retrieval/distill":
            pairs = scored(args, pairs, folder / "corpus.jsonl", out)
        data = [f"data.sources.0.path={pairs}", f"eval.suite={{name: set, tasks: [{{{task}}}]}}"]
        data += [f"mining.corpus={folder / 'corpus.jsonl'}"] if recipe in MINES else []
    shared = [
        f"model.max_length={args.max_length}",
        f"train.batch_size={args.batch}",
        f"train.steps={args.steps}",
        f"train.learning_rate={args.rate}",
        f"train.seed={seed}",
        f"eval.before={'true' if (name, seed) == (REFERENCE, args.first_seed) else 'false'}",
    ]
    fill = {"every": max(1, args.steps // 3), "twice": 2 * args.batch, "guide": args.guide}
    return [recipe, *data, *shared, *(text.format(**fill) for text in own)]


def train(args: argparse.Namespace, name: str, seed: int, out: Path) -> Path:
    """The folder of a finished run."""
    folder = out / f"{name.replace(' ', '-')}-{seed}"
    command = [sys.executable, "-m", "embedkit", "train", *overrides(args, name, seed, out), "--out", str(folder)]
    if not (folder / "eval" / "after" / "scores.json").is_file():
        console.print(f"{name}, seed {seed}")
        if folder.is_dir():
            command.append("--resume")
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, env={**os.environ, "COLUMNS": "200"}
        )
        if done.returncode:
            raise SystemExit(done.stdout[-3000:] + done.stderr[-3000:])
    return folder


def measured(folder: Path, phase: str = "after") -> dict[str, Any]:
    """The score of every query, and seconds: of training without the searches that it waited for, and of those.

    In a file of numbers they may be null: of a run that was halted for a while.
    """
    units = load_scores(folder / "eval" / phase).tasks[0].units["ndcg@10"]
    record = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    waited = sum(entry["waited"] for entry in record.get("mining") or [])
    seconds = {"training": round(record["timings"]["training"] - waited, 1), "searches": round(waited, 1)}
    return {"ndcg@10": np.round(units, 5).tolist(), "seconds": seconds}


Run = tuple[dict[str, Any], dict[str, np.ndarray]]


def result(run: dict[str, Any]) -> Run:
    """What `paired` compares: the score, and its resamples over queries."""
    units = np.array(run["ndcg@10"])
    draws = mean_draws({"ndcg@10": units}, 1000, generator(0, "quality"))
    return {"average": 100 * float(units.mean())}, {"quality": 100 * draws["ndcg@10"]}


def show(runs: dict[str, dict[str, Any]], reference: str) -> None:
    """The table, with differences to one of the settings on the seeds that both have."""
    table = Table("setting", "nDCG@10", "sd", f"to {reference}", "queries", "seeds", "verdict", "training", "searches")
    base = {seed: result(run) for seed, run in runs[reference].items()}
    for run in runs[UNTRAINED].values():
        table.add_row(UNTRAINED, f"{result(run)[0]['average']:.2f}", *[""] * 7)
    for name, own in runs.items():
        if name == UNTRAINED:
            continue
        found = {seed: result(run) for seed, run in own.items()}
        scores = [run["average"] for run, _ in found.values()]
        timed = [list(run["seconds"].values()) for run in own.values() if run["seconds"]]
        costs = [f"{seconds:.0f} s" for seconds in np.mean(timed, axis=0)] if timed else ["", ""]
        shared = [(run, base[seed]) for seed, run in found.items() if seed in base]
        against = paired(shared) if name != reference else None
        compared = [""] * 4
        if against is not None:
            spread = against["seeds"]
            compared = [
                f"{against['value']:+.2f}",
                "{:+.2f} to {:+.2f}".format(*against["pairs"]),
                "" if spread is None else "{:+.2f} to {:+.2f}".format(*spread),
                against["verdict"],
            ]
        sd = f"{np.std(scores, ddof=1):.2f}" if len(scores) > 1 else ""
        table.add_row(name, f"{np.mean(scores):.2f}", sd, *compared, *costs)
    console.print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="the runs; the same command goes on in it")
    parser.add_argument("--data", default="pydocs", help="pydocs, or a folder in BEIR form")
    parser.add_argument(
        "--numbers", type=Path, help="JSON of what was measured; runs that stand there are not run again"
    )
    parser.add_argument("--settings", help="some of: " + ", ".join([*SETTINGS, *RECIPES]))
    parser.add_argument("--against", default=REFERENCE, help="the setting that others are compared with")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first-seed", type=int, default=42)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rate", default="5e-5")
    parser.add_argument("--max-length", type=int, default=96)
    parser.add_argument("--limit", type=int, default=2000, help="pairs of the pydocs corpus")
    parser.add_argument(
        "--documents", type=int, help="of a set in BEIR form: the judged ones and as many others as fit"
    )
    parser.add_argument("--guide", help="model of the settings with a guide; without it they are left out")
    args = parser.parse_args()
    wanted = args.settings.split(",") if args.settings else [n for n in SETTINGS if args.guide or "guide" not in n]
    names = [REFERENCE, *(n for n in wanted if n != REFERENCE)]
    if asking := [n for n in names if "guide" in n and not args.guide]:
        raise SystemExit(f"{', '.join(asking)}: name the model with --guide")
    if "guide as teacher" in names and args.data == "pydocs":
        raise SystemExit("guide as teacher: needs pairs and a corpus in files, --data FOLDER")
    if unknown := [n for n in names if n not in SETTINGS | RECIPES]:
        raise SystemExit(f"no such setting: {', '.join(unknown)}; there are {', '.join(SETTINGS | RECIPES)}")
    out = args.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    study = {key: getattr(args, key) for key in ("documents", "steps", "batch", "rate", "max_length", "limit")}
    study["data"] = Path(args.data).name
    if args.documents:
        args.data = str(smaller(Path(args.data).resolve(), args.documents, out))
    numbers = Numbers(args.numbers, study)
    for seed in range(args.first_seed, args.first_seed + args.seeds):  # they take turns
        for name in names:
            kept = f"{name} ({Path(args.guide).name})" if "guide" in name else name
            if not numbers.has(kept, seed):
                folder = train(args, name, seed, out)
                numbers.take(kept, seed, measured(folder))
                if (folder / "eval" / "before").is_dir():
                    numbers.take(UNTRAINED, 0, measured(folder, "before"))
    if args.against not in numbers.runs:
        raise SystemExit(f"no run of {args.against!r} to compare with; there are {', '.join(numbers.runs)}")
    show(numbers.runs, args.against)


if __name__ == "__main__":
    main()
