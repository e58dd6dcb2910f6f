"""embedkit's `fewshot/setfit` against the package `setfit`: the same draws, base, batches and classifier.

A draw takes k texts per class. Each side fine-tunes the base on pairs of them (oversampling, one epoch, batch 16,
learning rate 2e-5, warm-up 0.1), then fits scikit-learn's logistic regression on their embeddings, and is judged on the
test texts. Sides take turns, draw by draw, each in a process of its own; seconds are those of making pairs, training
and fitting, with the model loaded before. On a machine that does other work too, look at the processor's seconds.

    python benchmarks/setfit.py --data FOLDER [--sets trec,sst2,banking77] [--shots 4,8,16] [--draws 10] [--steps N]
        [--test N] [--python PATH] [--threads N] [--model MODEL] [--sides embedkit,setfit] [--generator MODEL]
        [--numbers FILE.json]

FOLDER holds NAME-train.tsv and NAME-test.tsv, or NAME/train.tsv and NAME/test.tsv, with columns label and text.
`--python` is an interpreter that has setfit (`pip install setfit`), where embedkit's own has not. `--steps` caps the
updates, for sets of many classes: k texts of C classes make about (k C)^2 / 2 pairs, and oversampling nearly doubles
them.

Other sides are the base as it is (`untrained`) and the recipes `fewshot/labels`, `fewshot/supcon` and
`fewshot/paraphrase`, with their own batches and epochs; each is compared with the last one named. The causal model
`--generator` writes the paraphrases, which is not timed.

`--numbers` keeps what each draw gave, so that an interrupted comparison goes on, and one of more draws, numbers of
texts or sides grows from a smaller one. It holds one base, one number of test texts, one cap of updates.

Prints accuracy (mean over draws, 95 % interval by Student's t), the difference draw by draw, seconds, the ratio of
processor seconds, and that of seconds.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from benchmarks.common import Numbers

HERE = Path(__file__).resolve().parent
if __name__ == "__main__":  # else `import setfit` would find this file
    sys.path[:] = [str(HERE.parent), *(path for path in sys.path if Path(path or ".").resolve() != HERE)]

MISSING = 3
"""Exit status of a worker without the package."""
BATCH, RATE, WARMUP, LENGTH = 16, 2e-5, 0.1, 128
WORDS = {
    "ABBR": "abbreviation",
    "DESC": "description",
    "ENTY": "entity",
    "HUM": "human",
    "LOC": "location",
    "NUM": "number",
}
"""What TREC's classes are called; elsewhere a class is its own name."""

Seconds = tuple[float, float]
"""On the clock, and of the processor."""


def _now() -> Seconds:
    return time.perf_counter(), time.process_time()


def _since(start: Seconds) -> Seconds:
    clock, processor = _now()
    return clock - start[0], processor - start[1]


# One side ---------------------------------------------------------------------------------------------------------


def fit_setfit(model: str, job: dict[str, Any]) -> tuple[Seconds, np.ndarray]:
    """Seconds and answers of the package."""
    import logging

    from datasets import Dataset, disable_progress_bars
    from setfit import SetFitModel, Trainer, TrainingArguments

    disable_progress_bars()
    logging.getLogger("setfit").setLevel(logging.ERROR)
    known = SetFitModel.from_pretrained(model)
    known.model_body.max_seq_length = LENGTH
    arguments = TrainingArguments(
        output_dir=job["work"],
        batch_size=BATCH,
        num_epochs=1,
        max_steps=job["steps"] or -1,
        sampling_strategy="oversampling",
        body_learning_rate=RATE,
        warmup_proportion=WARMUP,
        seed=job["seed"],
        report_to="none",
        save_strategy="no",
        show_progress_bar=False,
    )
    texts = Dataset.from_dict({"text": job["texts"], "label": job["labels"]})
    trainer = Trainer(model=known, args=arguments, train_dataset=texts)
    start = _now()
    trainer.train()
    seconds = _since(start)
    return seconds, np.asarray(known.predict(job["test"], show_progress_bar=False))


def fit_embedkit(model: str, job: dict[str, Any]) -> tuple[Seconds, np.ndarray]:
    """Seconds and answers of the recipe `fewshot/setfit`."""
    values = {
        "data.sources.0.pairs": {},
        "train.batch_size": BATCH,
        "train.learning_rate": RATE,
        "train.warmup": WARMUP,
    }
    if job["steps"]:  # as setfit caps its pairs
        values |= {"train.steps": job["steps"], "data.sources.0.pairs.max_pairs": job["steps"] * BATCH}
    return _fit("fewshot/setfit", model, job, values)


def fit_untrained(model: str, job: dict[str, Any]) -> tuple[Seconds, np.ndarray]:
    """The classifier on the base."""
    return _fit(None, model, job, {})


def fit_labels(model: str, job: dict[str, Any]) -> tuple[Seconds, np.ndarray]:
    """The recipe `fewshot/labels` as it is."""
    return _fit("fewshot/labels", model, job, {})


def fit_supcon(model: str, job: dict[str, Any]) -> tuple[Seconds, np.ndarray]:
    """The recipe `fewshot/supcon`, whose batch holds at most all texts."""
    return _fit("fewshot/supcon", model, job, {"train.batch_size": min(40, len(job["texts"]))})


def fit_paraphrase(model: str, job: dict[str, Any]) -> tuple[Seconds, np.ndarray]:
    """The recipe `fewshot/paraphrase` on what the generator writes; a text whose paraphrase is refused is left out."""
    from embedkit.synthesis.local import LocalModel
    from embedkit.synthesis.produce import Settings, synthesize

    out, roles = Path(job["work"], "paraphrased.jsonl"), {"text": "text", "label": "label"}
    settings = Settings("paraphrases", out, text=_written(job), roles=roles, cache=out.with_suffix(".cache"))  # type: ignore[arg-type]
    synthesize(settings, lambda: LocalModel(job["generator"], device="cpu"), overwrite=True, progress=False)
    rows = len(out.read_text(encoding="utf-8").splitlines())
    values = {"data.sources.0.path": str(out), "train.batch_size": min(40, rows)}
    return _fit("fewshot/paraphrase", model, job, values)


def _written(job: dict[str, Any]) -> Path:
    """The labelled texts of a job, as a file."""
    path = Path(job["work"], "few.jsonl")
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = zip(job["texts"], job["names"], strict=True)
    path.write_text(
        "".join(json.dumps({"text": text, "label": label}) + "\n" for text, label in rows), encoding="utf-8"
    )
    return path


def _fit(name: str | None, model: str, job: dict[str, Any], values: dict[str, Any]) -> tuple[Seconds, np.ndarray]:
    """Seconds and answers of a recipe with some values, or of the base."""
    from sklearn.linear_model import LogisticRegression

    from embedkit.disk.folders import RunFolder
    from embedkit.model.running.encoder import Encoder
    from embedkit.recipe.load import load_recipe
    from embedkit.run.build import build_trainer
    from embedkit.run.data import load_sources
    from embedkit.train.distributed import Comm

    values = {
        "model.base": model,
        "model.max_length": LENGTH,
        "data.sources.0.path": str(_written(job)),
        "train.device": "cpu",
        "train.seed": job["seed"],
        "train.save_every": 10**9,
        **values,
    }
    recipe = load_recipe(name or "fewshot/setfit", [f"{key}={json.dumps(value)}" for key, value in values.items()])
    encoder = Encoder.load(recipe.model, device="cpu")
    start = _now()
    if name is not None:
        loaded = load_sources(recipe, RunFolder(Path(job["work"])), say=lambda _: None)
        build_trainer(recipe, loaded, encoder, Path(job["work"]), Comm()).train()
    head = LogisticRegression().fit(encoder.encode(job["texts"]), job["labels"])
    seconds = _since(start)
    return seconds, head.predict(encoder.encode(job["test"]))


SIDES = {
    "embedkit": fit_embedkit,
    "setfit": fit_setfit,
    "untrained": fit_untrained,
    "labels": fit_labels,
    "supcon": fit_supcon,
    "paraphrase": fit_paraphrase,
}


def work(side: str, model: str, threads: int | None) -> None:
    """Answer jobs, a line of JSON each, until there are no more."""
    answers = sys.stdout
    with redirect_stdout(sys.stderr):
        if side == "setfit":
            try:
                import setfit  # noqa: F401
            except ModuleNotFoundError as error:
                sys.exit(MISSING if error.name == "setfit" else str(error))
        from benchmarks.common import setup

        setup(threads)
        for line in sys.stdin:
            seconds, said = SIDES[side](model, json.loads(line))
            print(json.dumps({"seconds": seconds, "said": said.tolist()}), file=answers, flush=True)


class Worker:
    """A side in a process of its own.

    Args:
        side: of `SIDES`.
        python: its interpreter.
        model: folder or Hub id of the base.
        threads: of torch; None leaves it the choice.
    """

    def __init__(self, side: str, python: str, model: str, threads: int | None) -> None:
        self.side, self.python = side, python
        options = ["--worker", side, "--model", model, *(["--threads", str(threads)] if threads else [])]
        quiet = {"TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1", "TQDM_DISABLE": "1"}
        self._process = subprocess.Popen(
            [python, str(HERE / "setfit.py"), *options],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | quiet,
        )

    def __call__(self, job: dict[str, Any]) -> tuple[Seconds, np.ndarray]:
        """Seconds and answers for a job."""
        into, out = self._pipes()
        try:
            into.write(json.dumps(job) + "\n")
            into.flush()
            line = out.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            self._fail()
        found = json.loads(line)
        clock, processor = found["seconds"]
        return (clock, processor), np.array(found["said"])

    def close(self) -> None:
        """End the process."""
        self._pipes()[0].close()
        self._process.wait()

    def _pipes(self) -> tuple[IO[str], IO[str]]:
        assert self._process.stdin is not None and self._process.stdout is not None
        return self._process.stdin, self._process.stdout

    def _fail(self) -> None:
        if self._process.wait() == MISSING:
            cure = f"{self.python} -m pip install setfit, or name an interpreter that has it with --python"
            raise SystemExit(f"the package setfit is not there: {cure}")
        raise SystemExit(f"the side {self.side} ended with status {self._process.returncode}; its errors stand above")


# The comparison ---------------------------------------------------------------------------------------------------


def read(folder: Path, name: str, part: str) -> tuple[list[str], list[str]]:
    """Texts and labels of ``NAME-PART.tsv`` or ``NAME/PART.tsv``."""
    for file in (folder / f"{name}-{part}.tsv", folder / name / f"{part}.tsv"):
        if file.is_file():
            lines = file.read_text(encoding="utf-8").splitlines()
            columns = lines[0].split("\t")
            at = [columns.index(column) for column in ("text", "label")]
            rows = [line.split("\t") for line in lines[1:]]
            return [row[at[0]] for row in rows], [row[at[1]] for row in rows]
    raise SystemExit(f"{folder} has no {name}-{part}.tsv and no {name}/{part}.tsv")


def jobs(args: argparse.Namespace, name: str, work: str) -> list[tuple[int, dict[str, Any], np.ndarray]]:
    """Number of texts per class, job, right labels of the test: for every number and draw of a set."""
    from embedkit.evaluation.kinds.probe import drawn

    texts, labels = read(args.data, name, "train")
    test, gold = read(args.data, name, "test")
    place = {label: i for i, label in enumerate(sorted(set(labels)))}
    codes = [place[label] for label in labels]
    chosen = np.sort(np.random.default_rng(0).permutation(len(test))[: args.test])
    right = np.array([place[gold[i]] for i in chosen])
    found = []
    for shots, draws in drawn(codes, args.shots, args.draws).items():
        for number, draw in enumerate(draws):
            job = {
                "texts": [texts[i] for i in draw],
                "labels": [codes[i] for i in draw],
                "names": [WORDS.get(labels[i], labels[i].replace("_", " ")) for i in draw],
                "test": [test[i] for i in chosen],
                "steps": args.steps,
                "generator": args.generator,
                "seed": number,
                "work": work,
            }
            found.append((shots, job, right))
    return found


def said(values: Sequence[float]) -> str:
    """Mean and 95 % interval of some values."""
    from embedkit.evaluation.kinds.probe import over_draws

    found = over_draws([value / 100 for value in values])
    low, high = found.get("interval", (found["mean"], found["mean"]))
    return f"{found['mean']:6.2f} [{low:6.2f}, {high:6.2f}]"


def compare(args: argparse.Namespace, workers: dict[str, Worker], work: str, numbers: Numbers) -> dict[str, np.ndarray]:
    """Run what `numbers` lacks, print a line per set and number; `Seconds` of each side in all."""
    total = {side: np.zeros(2) for side in workers}
    for name in args.sets:
        every = jobs(args, name, work)
        for shots in args.shots:
            own = [(job, right) for number, job, right in every if number == shots]
            accuracy: dict[str, list[float]] = {side: [] for side in workers}
            seconds: dict[str, list[Seconds]] = {side: [] for side in workers}
            for turn, (job, right) in enumerate(own):
                for side in list(workers)[:: 1 if turn % 2 else -1]:
                    by = f" ({Path(args.generator).name})" if side == "paraphrase" else ""
                    cell = f"{name} {shots} {side}{by}"
                    if not numbers.has(cell, turn):
                        measured, answers = workers[side](job)
                        numbers.take(cell, turn, {"seconds": measured, "right": int((answers == right).sum())})
                    run = numbers.runs[cell][str(turn)]
                    seconds[side].append(run["seconds"])
                    accuracy[side].append(100 * run["right"] / len(right))
            for side in workers:
                total[side] += np.sum(seconds[side], axis=0)
                clock, processor = np.mean(seconds[side], axis=0)
                took = f"{clock:8.2f} s, {processor:.2f} s of the processor"
                print(f"{name:10s} {shots:3d} per class  {side:9s} accuracy {said(accuracy[side])}  {took}")
            *others, last = accuracy
            for side in others:
                apart = said([a - b for a, b in zip(accuracy[side], accuracy[last], strict=True)])
                print(f"{name:10s} {shots:3d} per class  {side} - {last:9s} {apart}", flush=True)
    return total


def options() -> argparse.ArgumentParser:
    def numbers(text: str) -> list[int]:
        return sorted({int(part) for part in text.split(",")})

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder of the sets")
    parser.add_argument("--sets", type=lambda text: text.split(","), default=["trec", "sst2", "banking77"])
    parser.add_argument("--shots", type=numbers, default=[4, 8, 16], help="texts per class")
    parser.add_argument("--draws", type=int, default=10)
    parser.add_argument("--steps", type=int, help="updates at most, of both sides; default: one epoch")
    parser.add_argument("--test", type=int, help="test texts, drawn once; default: all")
    parser.add_argument("--python", default=sys.executable, help="interpreter that has setfit")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--model", help="folder or Hub id of the base; default: all-MiniLM-L6-v2")
    parser.add_argument("--sides", type=lambda text: text.split(","), default=["embedkit", "setfit"])
    parser.add_argument("--generator", help="causal model that writes paraphrases, for the side of that name")
    parser.add_argument(
        "--numbers", type=Path, help="JSON of what was measured; draws that stand there are not run again"
    )
    parser.add_argument("--worker", choices=tuple(SIDES), help=argparse.SUPPRESS)
    return parser


def main() -> None:
    args = options().parse_args()
    if args.worker:
        work(args.worker, args.model, args.threads)
        return
    if args.data is None:
        raise SystemExit("--data names the folder of the sets")
    if "paraphrase" in args.sides and args.generator is None:
        raise SystemExit("paraphrase: needs a model that writes them, --generator MODEL")
    import tempfile

    from benchmarks.common import Numbers, ratio
    from embedkit.model.reading.resolve import resolve
    from embedkit.recipe.schema import DEFAULT_MODEL

    model = resolve(args.model or DEFAULT_MODEL).target
    numbers = Numbers(args.numbers, {"base": args.model or DEFAULT_MODEL, "test": args.test, "steps": args.steps})
    with tempfile.TemporaryDirectory() as folder:
        python = {side: args.python if side == "setfit" else sys.executable for side in args.sides}
        workers = {side: Worker(side, python[side], model, args.threads) for side in args.sides}
        total = compare(args, workers, folder, numbers)
        for worker in workers.values():
            worker.close()
    if {"embedkit", "setfit"} <= {*total}:
        clock, processor = total["setfit"] / total["embedkit"]
        print(f"processor ratio {processor:.2f}")
        ratio(clock, 1.0)


if __name__ == "__main__":
    main()
