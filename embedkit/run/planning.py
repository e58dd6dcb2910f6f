"""The plan of the run, said and recorded; what it refuses ends here."""

from __future__ import annotations

from dataclasses import asdict

from embedkit.recipe.plan import Plan, plan
from embedkit.run.state import Run


def announce(run: Run) -> Plan:
    """Plan with the data as read, say it, record it.

    Raises:
        RecipeError: the plan refuses the recipe.
    """
    from embedkit.disk.model_files import inside, read_saved
    from embedkit.model.reading.resolve import local_copy
    from embedkit.recipe.planning.facts import folder_facts

    found = local_copy(run.recipe.model.base, run.recipe.model.revision)
    made = plan(
        run.recipe,
        processes=run.comm.world,
        rows=[s.rows for s in run.sources],
        contents=[s.contents() for s in run.sources],
        model_config=folder_facts(found) if found is not None else None,
        batches=[s.made.get("clusters", {}).get("batches") for s in run.sources],
        saved=read_saved(inside(found)) if found is not None else None,
    )
    for line in made.lines():
        run.say(line)
    made.refuse()
    run.record.plan = {**asdict(made), "lines": made.lines()}
    run.record.warnings.extend(f"{w.what} ({w.cure})" for w in made.warnings)
    return made
