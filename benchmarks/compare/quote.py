"""Quote the results in the README, the methods' pages and the recipes' heads, so that no figure is copied by hand.

    python -m benchmarks.compare.quote

In the README and in `docs/methods` the lines between ``<!-- measured: METHOD -->`` (``all`` for a row per method) and
``<!-- end -->`` are written anew, in a recipe of the table the paragraph ``# Result``. What has no results stays.
"""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from benchmarks.compare import page, table
from benchmarks.compare.table import REFERENCE, Method

ROOT = Path(__file__).resolve().parents[2]
WIDTH, INDENT = 120, "#          "
ALL = "all"
SIGNS = {"better": " ▲", "worse": " ▼", "unclear": ""}
RESULT = re.compile(rf"^# Result .*\n(?:{INDENT}.*\n)*", re.MULTILINE)
READING = "Same sentences, updates and seeds for every method; how to read it: [the comparison](../results/README.md)."


def main() -> int:
    """Write all quotations; print the files that changed."""
    return written(ROOT, quotations(ROOT, table.read(table.DEFAULT)))


def written(root: Path, wanted: Mapping[Path, str]) -> int:
    """Give every file the text that it ought to have; 0."""
    for path, text in wanted.items():
        if path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
            print(path.relative_to(root))
    return 0


def filled(text: str, word: str, write: Callable[[str], str | None]) -> str:
    """`text` with what stands between ``<!-- WORD: NAMES -->`` and ``<!-- end -->`` written anew.

    Args:
        text: of a page.
        word: of the marks.
        write: what belongs there, by the names; None keeps what is there.
    """

    def block(found: re.Match[str]) -> str:
        made = write(found[2])
        return found[1] + (found[3] if made is None else made + "\n") + found[4]

    return re.sub(rf"(<!-- {word}: ([\w.+, -]+) -->\n)(.*?)(<!-- end -->)", block, text, flags=re.DOTALL)


def quotations(root: Path, methods: Mapping[str, Method]) -> dict[Path, str]:
    """What the pages and the recipes below `root` ought to say, given ``docs/results/*.json``."""
    stored = sorted((root / "docs" / "results").glob("*.json"))
    results = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in stored}
    wanted = {}
    for path in [root / "README.md", *sorted((root / "docs" / "methods").glob("*.md"))]:
        text = path.read_text(encoding="utf-8")
        wanted[path] = filled(text, "measured", lambda name: _marked(name, methods, results))
    for method in methods.values():
        if method.recipe and _having(method, results):
            path = root / "recipes" / f"{method.recipe}.yaml"
            text = head(method, results)
            wanted[path] = RESULT.sub(lambda found, text=text: text, path.read_text(encoding="utf-8"), count=1)
    return wanted


def _marked(name: str, methods: Mapping[str, Method], results: Mapping[str, Any]) -> str | None:
    if name == ALL:
        return overview(methods.values(), results) if results else None
    method = methods[name]
    return f"{measured(method, results)}\n\n{READING}" if _having(method, results) else None


def measured(method: Method, results: Mapping[str, Any]) -> str:
    """The table of one method, a row per base."""
    body = []
    for name, result in _having(method, results).items():
        own, facts = result["methods"][method.name], result["comparison"]
        difference = own["difference"] or {}
        body.append(
            [
                f"[{name}](../results/{name}.md), {_size(facts)}",
                f"{facts['steps']} of {facts['batch']}",
                before(own),
                page.mean(own),
                f"{own['gain']['value']:+.2f}" if own["gain"] else "",
                f"{difference['value']:+.2f}" if difference else "",
                page.interval(difference.get("pairs")),
                page.interval(difference.get("seeds")),
                page.cost(method, own["time"]),
            ]
        )
    return page.rows(["base", "updates", "before", "after", "gain", "to SimCSE", "pairs", "seeds", "time"], body)


def overview(methods: Iterable[Method], results: Mapping[str, Any]) -> str:
    """A row per method: its average on every base, marked where it left its start, and its time on the first.

    Comparisons marked ``earlier``, which the code has left behind, keep their page and stay out.
    """
    results = {name: found for name, found in results.items() if not found["comparison"].get("earlier")}
    heads = [
        f"[{name}](docs/results/{name}.md), {found['comparison']['steps']} updates" for name, found in results.items()
    ]
    body = []
    for method in methods:
        having = _having(method, results)
        cells = [_cell(found["methods"].get(method.name)) for found in results.values()]
        times = [page.cost(method, found["methods"][method.name]["time"]) for found in having.values()]
        if having:
            body.append([method.title, *cells, next(filter(None, times), "")])
    return page.rows(["method", *heads, "time"], body)


def _cell(own: Mapping[str, Any] | None) -> str:
    if own is None:
        return ""
    return page.mean(own) + (SIGNS[own["gain"]["verdict"]] if own["gain"] else "")


def head(method: Method, results: Mapping[str, Any]) -> str:
    """The paragraph ``# Result`` of a recipe."""
    parts = []
    for name, result in _having(method, results).items():
        own, facts = result["methods"][method.name], result["comparison"]
        beside = f" (SimCSE {page.mean(result['methods'][REFERENCE])})" if method.name != REFERENCE else ""
        work = f"{facts['steps']} updates of {facts['batch']}, seeds {', '.join(map(str, own['seeds']))}"
        parts.append(f"{name} ({_size(facts)}), {work}: {before(own)} -> {page.mean(own)}{beside}")
    text = f"mean of STS12-16, STS-B, SICK-R, 100 x Spearman. {'; '.join(parts)}. More in docs/results."
    lines = textwrap.wrap(text, WIDTH - len(INDENT), break_on_hyphens=False)
    return "# Result   " + f"\n{INDENT}".join(lines) + "\n"


def before(own: Mapping[str, Any]) -> str:
    """The untrained base's average with the method's pooling; "" where it was not measured."""
    return f"{own['average'] - own['gain']['value']:.2f}" if own["gain"] else ""


def _having(method: Method, results: Mapping[str, Any]) -> dict[str, Any]:
    return {name: result for name, result in results.items() if method.name in result["methods"]}


def _size(facts: Mapping[str, Any]) -> str:
    return f"{facts['base']['parameters'] / 1e6:.1f} M parameters"


if __name__ == "__main__":
    raise SystemExit(main())
