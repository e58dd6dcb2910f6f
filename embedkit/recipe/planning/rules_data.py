"""Rules about sources: roles, rows, streams, weights."""

from __future__ import annotations

from collections.abc import Iterator

from embedkit.disk import paths
from embedkit.foreign.limits import COMPARED_NAMES
from embedkit.foreign.quoting import listed, quoted
from embedkit.recipe.objectives.base import leaves, needs
from embedkit.recipe.planning.context import Context, place, problem
from embedkit.recipe.reading.fields import nearest
from embedkit.recipe.reading.problems import Problem
from embedkit.recipe.reading.settle import places
from embedkit.recipe.reading.tree import KeyPath


def columns_exist(c: Context) -> Iterator[Problem]:
    for source in c.sources:
        if source.columns is None:
            continue
        for role, given in source.config.roles.items():
            for column in [given] if isinstance(given, str) else given:
                if column not in source.columns:
                    known = sorted(source.columns)
                    near = nearest(column, known[:COMPARED_NAMES])
                    cure = f"{f'did you mean {quoted(near)}? ' if near else ''}columns: {listed(known)}"
                    what = f"{source.name} has no column {quoted(column)}"
                    yield problem(place(source, "roles", role), what, cure)


def roles_given(c: Context) -> Iterator[Problem]:
    for source in c.sources:
        needed = sorted(needs(source.objective))
        missing = [role for role in needed if source.gives(role) is False]
        if missing:
            what = (
                f"objective {source.objective.name} needs {', '.join(needed)}; "
                f"{source.name} does not give {', '.join(missing)}"
            )
            have = f" (columns: {listed(sorted(source.columns))})" if source.columns else ""
            cure = f"name the column in roles, e.g. `roles: {{{missing[0]}: COLUMN}}`{have}, or use another objective"
            yield problem(place(source, "roles") if source.config.roles else place(source), what, cure)


def text_stands_alone(c: Context) -> Iterator[Problem]:
    for source in c.sources:
        also = {"query", "positive", "negative", "grade"} & set(source.config.roles)
        if "text" in source.config.roles and also:
            what = f"role text means unlabelled text, but {', '.join(sorted(also))} is given too"
            yield problem(place(source, "roles", "text"), what, "call the text column query, or drop the other roles")


def debias_has_sentences(c: Context) -> Iterator[Problem]:
    for source in c.sources:
        if source.config.debias is None:
            continue
        if source.config.streaming:
            what = "triplets are sampled from all sentences together, and a stream never has them all"
            yield problem(place(source, "debias"), what, "remove streaming, or debias")
        if source.read is not None and "text" not in source.read:
            what = f"triplets are made of bare text, and {source.name} gives {', '.join(sorted(source.read))}"
            yield problem(place(source, "debias"), what, "remove it, or name the column in `roles: {text: COLUMN}`")


def labels_make_rows(c: Context) -> Iterator[Problem]:
    """`pairs` and `label_texts` are made of labelled texts that are all there."""
    for source in c.sources:
        config = source.config
        for key in [key for key in ("pairs", "label_texts") if getattr(config, key) is not None]:
            path, read = place(source, key), source.read or frozenset()
            other = next((k for k in ("debias", "pairs") if k != key and getattr(config, k) is not None), None)
            lost = {"positive", "negative", "score"} & read
            if config.streaming:
                yield problem(path, f"{key} needs all rows, and a stream never has them", f"remove streaming, or {key}")
            elif other is not None:
                yield problem(path, f"{other} and {key} both make the rows of {source.name}", "remove one of the two")
            elif read and not ({"text", "query"} & read and "label" in read):
                what = f"{key} is made of labelled texts, and {source.name} gives {', '.join(sorted(read))}"
                yield problem(path, what, "name the columns: `roles: {text: COLUMN, label: COLUMN}`")
            elif lost:
                what = f"{key} makes rows of its own, and the {', '.join(sorted(lost))} of {source.name} would be lost"
                yield problem(path, what, f"name the texts `roles: {{text: COLUMN}}`, or remove {key}")


def scores_make_rows(c: Context) -> Iterator[Problem]:
    """`score_split` is made of candidates with scores that are all there; what rotates needs passes."""
    for source in c.sources:
        config = source.config
        if c.recipe.data.one_positive == "rotate" and config.streaming:
            what = "one_positive: rotate takes the next positive in every pass, and a stream has no passes"
            yield problem(("data", "one_positive"), what, "set sample, or remove streaming")
        if c.recipe.data.one_positive == "rotate" and c.recipe.negatives.hardest_of is not None:
            what = "hardest_of chooses among negatives that are drawn, and one_positive: rotate takes the next ones"
            yield problem(("negatives", "hardest_of"), what, "leave one of the two out")
        if config.repeat is not None and config.weight is not None:
            what = f"{source.name} has a weight and a repeat, and both say how often it comes"
            yield problem(place(source, "repeat"), what, "remove one of the two")
        if config.score_split is None:
            continue
        path = place(source, "score_split")
        if config.streaming:
            yield problem(path, "candidates are split before training, and a stream never has them", "remove streaming")
        for key in ("debias", "pairs", "label_texts"):
            if getattr(config, key) is not None:
                yield problem(
                    path, f"{key} and score_split both make the rows of {source.name}", "remove one of the two"
                )
        if source.read is not None and not {"query", "positive", "negative", "score"} <= source.read:
            what = f"score_split needs scored candidates, and {source.name} gives {', '.join(sorted(source.read))}"
            yield problem(path, what, "name the columns: `roles: {query: .., positive: .., negative: .., score: ..}`")


def templates_have_rows(c: Context) -> Iterator[Problem]:
    for source in c.sources:
        if source.config.templates is not None and source.config.streaming:
            what = "templates go by the place of a row, and a stream is shuffled as it is read"
            yield problem(place(source, "templates"), what, "remove streaming, or use the view `template`")


def weights_have_a_use(c: Context) -> Iterator[Problem]:
    """Weights that a loss would leave out, and functions of grades without grades."""
    for source in c.sources:
        given = [role for role in ("weight", "grade") if role in source.config.roles]
        if source.config.grades is not None and "grade" not in given:
            what = f"{source.name} has no grades to make weights of"
            yield problem(place(source, "grades"), what, "name their column: `roles: {grade: COLUMN}`")
        if not given:
            continue
        made = next((key for key in ("debias", "pairs") if getattr(source.config, key) is not None), None)
        if made is not None:
            what = "rows are made of the sentences before training, and their weights are lost"
            yield problem(place(source, "roles", given[0]), what, f"remove it, or {made}")
        for leaf in leaves(source.objective):
            if not leaf.weighs:
                what = f"objective {leaf.name} has one loss for the whole batch, and no row of it can be weighted"
                yield problem(place(source, "roles", given[0]), what, "remove it, or use another objective")


def clusters_are_known(c: Context) -> Iterator[Problem]:
    for source in c.sources:
        options, path = source.config.clusters, place(source, "clusters")
        if options is None:
            continue
        if source.config.streaming:
            yield problem(
                path, "batches by cluster need all rows, and a stream never has them", "remove one of the two"
            )
        if source.config.debias is not None:
            yield problem(path, "triplets are made before training, and have no clusters", "remove clusters, or debias")
        if source.config.pairs is not None:
            yield problem(path, "pairs are made before training, and have no clusters", "remove clusters, or pairs")
        if options.kmeans is None and "cluster" not in source.config.roles:
            what = f"{source.name} has no column of clusters, and none are made"
            yield problem(path, what, "name a column in `roles: {cluster: COLUMN}`, or set clusters.kmeans")


def generated_duplicates_are_found(c: Context) -> Iterator[Problem]:
    for source in c.sources:
        if c.recipe.data.drops_duplicates and source.config.streaming:
            what = "generated rows that equal another row are left out before training, and a stream never has all rows"
            cure = "remove streaming, or set data.generated_duplicates to keep"
            yield problem(place(source, "streaming"), what, cure)


def stream_has_an_end(c: Context) -> Iterator[Problem]:
    for source in c.sources:
        if not source.config.streaming:
            continue
        if source.config.rows is not None or source.config.pydocs is not None:
            yield problem(place(source, "streaming"), "only files and Hub datasets can be streamed", "set it to false")
        elif c.recipe.train.steps is None:
            yield problem(
                place(source, "streaming"),
                "a stream has no end, so epochs do not say how long",
                "set train.steps",
            )


def weights_are_complete(c: Context) -> Iterator[Problem]:
    given = [s.config.weight is not None for s in c.sources]
    streams = [s for s in c.sources if s.config.streaming]
    if any(given) and not all(given):
        bare = c.sources[given.index(False)]
        yield problem(place(bare), "some sources have a weight and this one has none", "give all a weight, or none")
    elif len(c.sources) > 1 and streams and not any(given):
        what = "the share of a stream among several sources is unknown"
        yield problem(place(streams[0], "streaming"), what, "give every source a weight")


def rows_fill_a_batch(c: Context) -> Iterator[Problem]:
    size = c.recipe.train.batch_size
    for source in c.sources:
        if source.rows is not None and source.rows < size:
            what = f"{source.name} has {source.rows} rows, less than one batch of {size}"
            yield problem(("train", "batch_size"), what, f"set it to {max(1, source.rows)} or less, or give more data")


def rows_fill_an_update(c: Context) -> Iterator[Problem]:
    if c.updates == 0 and all(s.rows is not None and s.rows >= c.recipe.train.batch_size for s in c.sources):
        what = f"{c.recipe.train.epochs:g} epochs do not fill one update of {c.recipe.train.accumulation} batches"
        yield problem(("train", "accumulation"), what, "lower it or train.batch_size, or raise train.epochs")


def negatives_exist(c: Context) -> Iterator[Problem]:
    if c.recipe.negatives.per_query and all(s.gives("negative") is False for s in c.sources):
        yield problem(
            ("negatives", "per_query"), "no source gives negatives", "set it to 0, or name a column in roles.negative"
        )


def hardest_have_scores(c: Context) -> Iterator[Problem]:
    if c.recipe.negatives.hardest_of is None:
        return
    for source in c.sources:
        if source.mined or (source.gives("negative") and source.gives("score") is False):
            what = f"the negatives of {source.name} have no scores of a teacher, by which the hardest are chosen"
            cure = "name the column of the scores in roles.score (embedkit mine --teacher), or leave it out"
            yield problem(("negatives", "hardest_of"), what, cure)


def file_is_there(c: Context) -> Iterator[Problem]:
    for source in c.sources:
        if source.missing:
            what = f"no file matches {source.config.path!r}: its rows and columns are unknown"
            cure = "paths start at the recipe's folder, else at the working folder; override it with "
            yield problem(place(source, "path"), what, f"{cure}data.sources.{source.index}.path=FILE")


def other_paths_lead_somewhere(c: Context) -> Iterator[Problem]:
    for key, path, leads, _, part in places(c.recipe):
        needed = leads in ("file", "files") or key == ("eval", "data") or paths.is_path(path)
        if needed and leads != "suite" and key[-1] != "path" and not paths.locate(path, leads).places:
            kind = "folder" if leads == "folder" else "file"
            cure = f"paths start at the recipe's folder, else at the working folder; override it with {_dotted(key)}="
            value = f"{part}={kind.upper()},..." if part else kind.upper()
            yield problem(key, f"there is no {kind} {quoted(str(path))}", f"{cure}{value}")


def _dotted(key: KeyPath) -> str:
    return ".".join(map(str, key))


def stream_fills_a_batch(c: Context) -> Iterator[Problem]:
    for source in c.sources:
        if source.ended is not None:
            size = c.recipe.train.batch_size
            what = f"{source.name} has {source.ended} rows, less than one batch of {size}: a batch repeats its rows"
            yield problem(place(source, "streaming"), what, "lower train.batch_size, or give more data")


def negatives_left_over(c: Context) -> Iterator[Problem]:
    for source in c.sources:
        _, used = c.slots(source)
        if source.mined:
            continue
        if source.negatives and used < source.negatives and c.recipe.negatives.hardest_of is None:
            what = f"{source.name} has {source.negatives} negatives per row, {used} drawn per step"
            yield problem(("negatives", "per_query"), what, f"set it to {source.negatives} to use all of them")
        elif source.negatives and used > source.negatives:
            what = f"{used} negatives per query, but {source.name} has {source.negatives} per row"
            yield problem(
                ("negatives", "per_query"), what, "missing ones are masked, they cost nothing but add nothing"
            )


def views_have_text(c: Context) -> Iterator[Problem]:
    known = all(s.roles is not None for s in c.sources)
    if c.recipe.views.count != 2 and known and not any(s.unlabelled for s in c.sources):
        yield problem(("views", "count"), "no source has role text, so views have no effect", "remove it")


def stream_knows_little(c: Context) -> Iterator[Problem]:
    for source in c.sources:
        if source.config.streaming and any(getattr(o, "mask_duplicates", False) for o in [source.objective]):
            what = "a stream cannot know the positives of a query that stand in rows far away"
            yield problem(
                place(source, "streaming"), what, "duplicates are masked within a batch only; or do not stream"
            )


REFUSALS = [
    generated_duplicates_are_found,
    scores_make_rows,
    weights_have_a_use,
    clusters_are_known,
    columns_exist,
    roles_given,
    text_stands_alone,
    debias_has_sentences,
    labels_make_rows,
    templates_have_rows,
    stream_has_an_end,
    weights_are_complete,
    rows_fill_a_batch,
    rows_fill_an_update,
    negatives_exist,
    hardest_have_scores,
]
WARNINGS = [
    file_is_there,
    other_paths_lead_somewhere,
    stream_fills_a_batch,
    negatives_left_over,
    views_have_text,
    stream_knows_little,
]
