"""The plan in words."""

from __future__ import annotations

from collections.abc import Iterator

from embedkit.foreign.showing import LONGEST, shown
from embedkit.recipe.memory import KEEP_SHARE, amount
from embedkit.recipe.planning.result import Planned, SourcePlan


def lines(plan: Planned) -> list[str]:
    """One fact per line, a word in front; warnings last. Refusals are for `Planned.refuse` to raise."""
    return facts(plan) + warnings(plan)


def facts(plan: Planned) -> list[str]:
    """What the run will do."""
    found = (*_data(plan), *_step(plan), *_negatives(plan), *_auxiliary(plan), *_memory(plan), *_updates(plan))
    found = (*found, *_evaluation(plan))
    return [f"{name:<13}{shown(fact, most=LONGEST)}" for name, fact in found]


def warnings(plan: Planned) -> list[str]:
    """What is probably not meant; a warning's cure is a line of its own."""
    return [line for w in plan.warnings for line in indented("warning", str(w))]


def indented(name: str, text: str) -> list[str]:
    """The lines of a text, the first behind a word."""
    return [f"{'' if place else name:<13}{line}" for place, line in enumerate(text.splitlines())]


def _data(plan: Planned) -> Iterator[tuple[str, str]]:
    yield "model", plan.model
    for source in plan.sources:
        rows = f"{source.rows:,} rows" if source.rows is not None else "rows unknown until loaded"
        roles = "roles unknown until loaded"
        if source.roles is not None or source.declared:
            roles = "roles " + ", ".join(source.roles or source.declared)
        yield "data", f"{source.name}: {rows}; {roles}; {source.objective}"
        for place, line in enumerate(source.made):
            yield "" if place else source.maker, line


def _step(plan: Planned) -> Iterator[tuple[str, str]]:
    split = f", {plan.batch_size // plan.processes} on each of {plan.processes} processes" if plan.processes > 1 else ""
    for source in plan.sources:
        each = source.positives + source.negatives + (not source.paired)
        rows = "pairs" if source.paired else "texts"
        what = f"{plan.batch_size} examples x {each} {rows} = {source.rows_per_step:,} {rows} per batch{split}"
        yield (
            "step",
            _of(plan, source) + what + (", a text of several examples encoded once" if plan.encode_once else ""),
        )
        if source.roles and "text" in source.roles:
            yield from _views(plan)


def _views(plan: Planned) -> Iterator[tuple[str, str]]:
    """What the views of a text are: in one line where they are alike."""
    if plan.pairing is not None:
        yield "views", f"1 of {1 + plan.pairing} texts is paired with itself, the others with another text of the batch"
    elif len(set(plan.views)) == 1 and plan.views[0].endswith("dropout") and ";" not in plan.views[0]:
        many = len(plan.views)
        yield "views", f"each text is encoded {many} times; the views differ by dropout" if many > 1 else "one per text"
        return
    for number, what in enumerate(plan.views, 1):
        yield "" if number > 1 or plan.pairing is not None else "views", f"view {number}: {what}"
    if plan.strength is not None:
        yield "", plan.strength


def _negatives(plan: Planned) -> Iterator[tuple[str, str]]:
    for source in plan.sources:
        for softmax in source.seen:
            parts = [f"{softmax['others']:,} in-batch", f"{softmax['own']:,} own explicit"]
            parts.append(f"{softmax['others_explicit']:,} explicit of other examples")
            parts += [f"{softmax['noise']:,} made up"] if softmax["noise"] else []
            who = f"a {softmax['anchor']} sees {softmax['total']:,} negatives"
            yield "negatives", f"{_of(plan, source)}{who}: {' + '.join(parts)}, less {softmax['less']}"
        for what in source.sees:
            yield "negatives", f"{_of(plan, source)}{what}"
        if not source.seen and not source.sees:
            own = f"{source.negatives} own explicit negatives" if source.negatives else "no negatives"
            whole = "; all pairs of the batch are compared with each other" if "batch" in source.scope else ""
            yield "negatives", f"{_of(plan, source)}{source.objective} uses {own} per query{whole}"
    if plan.processes > 1:
        shared = plan.pool == plan.batch_size
        yield "", "shared by all processes, with exact gradients" if shared else "each process has a pool of its own"
    if plan.accumulation > 1:
        many = plan.accumulation * plan.batch_size
        yield (
            "accumulation",
            f"{plan.accumulation} batches per update: it averages gradients and adds no negatives; "
            f"the pool stays {plan.pool}, not {many}",
        )


def _auxiliary(plan: Planned) -> Iterator[tuple[str, str]]:
    for place, what in enumerate(plan.auxiliary):
        yield "" if place else "auxiliary", what


def _memory(plan: Planned) -> Iterator[tuple[str, str]]:
    m = plan.memory
    if m.whole_batch:
        yield "matrix", f"the objective sees all {plan.pool} examples at once, on every process"
    elif m.columns > 1:
        yield "matrix", f"{m.rows_per_block} x {m.columns:,} logits per block: {amount(m.block)}"
    if m.parameters is None or m.optimizer is None or m.leaves is None:
        yield "memory", "unknown until the model is loaded"
        return
    yield (
        "memory",
        f"{m.parameters / 1e6:.1f} M weights with optimiser {amount(m.optimizer)}, leaves {amount(m.leaves)}",
    )
    for name, size in m.companions:
        yield "", f"between steps: {name}, {size}"
    if m.trained is not None:
        yield "", f"{m.trained:,} weights train, soft prompts and head; the backbone is frozen"
    if m.keep is None or m.reforward is None:
        return
    assumed = f"{m.length:.0f} tokens per text on average" if m.measured else f"at most {m.length:.0f} tokens per text"
    yield "", f"activations {amount(m.keep)} kept, {amount(m.reforward)} re-forward ({assumed})"
    if m.graph == "auto" and m.keep_up_to is None:
        yield "graph", "auto: decided per batch, by the memory that is free on the GPU"
    elif m.graph == "auto":
        yield (
            "graph",
            f"auto: kept for batches of up to {m.keep_up_to} tokens per text, else re-forward ({_free(m.free)})",
        )
    else:
        yield "graph", f"{m.graph} ({_free(m.free)})" if m.free is not None else m.graph


def _free(free: int | None) -> str:
    return f"{KEEP_SHARE:.0%} of the {amount(free or 0)} free now may hold activations"


def _updates(plan: Planned) -> Iterator[tuple[str, str]]:
    yield "updates", "unknown until the data is loaded" if plan.updates is None else f"{plan.updates:,}"


def _evaluation(plan: Planned) -> Iterator[tuple[str, str]]:
    e = plan.evaluation
    if e.masked_lm is not None:
        yield "evaluation", f"masked-LM loss and perplexity on {e.masked_lm} before and after training"
    elif e.suite is None and e.during is None:
        yield "evaluation", "none"
        return
    when = " and ".join(w for w, yes in (("before", e.before), ("after", e.after)) if yes)
    if when:
        yield "evaluation", f"{e.suite} {when} training"
    if e.every is not None and e.during is not None:
        times = "" if e.times is None else f", {e.times} times"
        yield "" if when else "evaluation", f"{e.during} every {e.every} updates{times}"


def in_short(plan: Planned) -> str:
    """What is coming, in one line, for who waits while libraries load: ``150 updates of 64 examples, ...``."""
    examples = f"{plan.batch_size * plan.accumulation:,} examples"
    work = f"updates of {examples}" if plan.updates is None else f"{plan.updates:,} updates of {examples}"
    e = plan.evaluation
    when = [w for w, yes in (("before", e.before), ("during", e.every is not None), ("after", e.after)) if yes]
    measured = f"evaluation {', '.join(when[:-1])}{' and ' if when[1:] else ''}{when[-1]}" if when else "no evaluation"
    return f"{work}, {measured}; how long that takes is said once data and model are read and a few batches timed"


def _of(plan: Planned, source: SourcePlan) -> str:
    return f"{source.name}: " if len(plan.sources) > 1 else ""
