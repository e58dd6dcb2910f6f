"""What an evaluation will cost, told before a model is loaded: texts to encode and about how many tokens."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from embedkit.evaluation.content import Texts
from embedkit.evaluation.files import count_rows, read_rows, text_column
from embedkit.evaluation.kinds.all import KINDS
from embedkit.evaluation.loading import beir_files, columns_of, document_text, judgements
from embedkit.evaluation.mteb.running import MtebData, read
from embedkit.recipe.mteb import MtebTask
from embedkit.recipe.suite import RetrievalTask, StsTask, Suite, Task

SAMPLE = 500
CHARACTERS_PER_TOKEN = 4.5
"""English under BERT's WordPiece: 4.5 to 4.9 measured on SciFact abstracts, STS sentences and XQuAD questions."""
SPECIAL_TOKENS = 2


@dataclass(frozen=True)
class Cost:
    """What a task will cost.

    Attributes:
        task: its name.
        texts: texts to encode, before duplicates are found; None for pydocs, which is harvested at run time, and for a
            data set that mteb has not counted.
        tokens: estimate, truncation to the maximum length included.
    """

    task: str
    texts: int | None
    tokens: int | None


def estimate(suite: Suite, max_length: int | None = None) -> list[Cost]:
    """The cost of each task: rows are counted, lengths taken from the first `SAMPLE` rows of each file.

    Args:
        suite: from `load_suite`, its files absolute.
        max_length: of the model, for tasks that do not set their own.

    Raises:
        DataError: a file is missing or its first rows are wrong.
    """
    return [_cost(task, task.max_length or max_length) for task in suite.tasks]


def _cost(task: Task, longest: int | None) -> Cost:
    if isinstance(task, MtebTask):
        return _mteb(read(task), task.name, longest)
    if not isinstance(task, (StsTask, RetrievalTask)):
        return _known(KINDS[type(task)].read(task).texts, task.name, longest)
    if isinstance(task, StsTask):
        parts = [_pairs(task, Path(file), longest) for file in task.files]
    elif task.folder is None:
        return Cost(task.name, None, None)
    else:
        parts = _retrieval(task, Path(task.folder), longest)
    return Cost(task.name, sum(texts for texts, _ in parts), round(sum(tokens for _, tokens in parts)))


def _mteb(data: MtebData, name: str, longest: int | None) -> Cost:
    number, length = data.unseen
    if number:
        return Cost(name, number, round(number * _mean_tokens(["x" * length], longest)))
    return _known(data.texts, name, longest)


def _known(groups: Texts, name: str, longest: int | None) -> Cost:
    texts = [text for group, _ in groups for text in group]
    return Cost(name, len(texts), round(len(texts) * _mean_tokens(texts, longest))) if texts else Cost(name, None, None)


def _pairs(task: StsTask, file: Path, longest: int | None) -> tuple[int, float]:
    sample = list(islice(read_rows(file, columns_of(task)), SAMPLE))
    texts = [text_column(row, name) for row in sample for name in (task.sentence1, task.sentence2)]
    count = 2 * count_rows(file)
    return count, count * _mean_tokens(texts, longest)


def _retrieval(task: RetrievalTask, folder: Path, longest: int | None) -> list[tuple[int, float]]:
    corpus, queries, qrels = beir_files(folder, task.split)
    documents = [document_text(row) for row in islice(read_rows(corpus, ("_id", "text")), SAMPLE)]
    asked = [text_column(row, "text") for row in islice(read_rows(queries, ("_id", "text")), SAMPLE)]
    judged = len({query for query, _, gain, _ in judgements(qrels) if gain > 0})
    sizes = (count_rows(corpus), min(judged, task.limit_queries or judged))
    return [(n, n * _mean_tokens(texts, longest)) for n, texts in zip(sizes, (documents, asked), strict=True)]


def _mean_tokens(texts: Iterable[str], longest: int | None) -> float:
    tokens = [len(text) / CHARACTERS_PER_TOKEN + SPECIAL_TOKENS for text in texts]
    cut = [min(n, longest) for n in tokens] if longest is not None else tokens
    return sum(cut) / len(cut) if cut else 0.0
