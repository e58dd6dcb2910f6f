"""The report: says what happened, leaves out what is not there, and is safe to pass on."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from pathlib import Path

import pytest
from markdown_it import MarkdownIt
from markdown_it.token import Token
from rich.console import Console

from embedkit.errors import EmbedkitError, RecordError
from embedkit.foreign.showing import visible
from embedkit.publish import insight, plots
from embedkit.publish.report import summary_table, write_report
from embedkit.types import RunRecord
from tests.publish import records

ATTACK = '<script>alert("x")</script> | a `tick` [link](http://x) *b* $\\frac{$ {{ 7 * 7 }}'


class Page(HTMLParser):
    """Tags, ids and text of a page; fails on a tag that is closed by another one's end."""

    VOID = frozenset({"meta", "br", "img", "link", "hr", "input"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = records.write(tmp_path_factory.mktemp("runs") / "quickstart", records.record())
    write_report(folder)
    return folder


def page_of(folder: Path) -> Page:
    return Page(write_report(folder).read_text(encoding="utf-8"))


def test_the_head_answers_the_five_questions(run: Path) -> None:
    text = Page((run / "report" / "index.html").read_text(encoding="utf-8")).text
    assert "Yes: the average of 3 tasks went from 60.12 to 61.70, +1.58 with a 95% interval of +0.82 to +2.35" in text
    assert "which excludes zero. By task: 1 better, 1 unclear, 1 worse." in text
    assert (
        "all-MiniLM-L6-v2 with infonce (temperature 0.05), batch 64, 300 updates, learning rate 5e-05, seed 42" in text
    )
    assert "pydocs: 19,214 examples; faq.tsv: a stream (3 rows skipped)" in text
    assert "8 min 41 s in all, 6 min 42 s of it training" in text
    assert 'SentenceTransformer("quickstart/model")' in text


def test_the_snippet_is_python_that_names_the_model_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = records.write(tmp_path / "runs" / "first", records.record())
    for work, model in ((tmp_path, "runs/first/model"), (folder, "model"), (Path("/"), None), (Path.home(), None)):
        monkeypatch.chdir(work)
        write_report(folder)
        report = (folder / "report" / "report.md").read_text(encoding="utf-8")
        snippet = report.split("```python\n")[1].split("```")[0]
        compile(snippet, "snippet", "exec")
        if model is None:
            model = str((folder / "model").relative_to(work)) if folder.is_relative_to(work) else "first/model"
        assert f'SentenceTransformer("{model}")' in snippet


def test_the_page_needs_nothing_from_outside(run: Path) -> None:
    text = (run / "report" / "index.html").read_text(encoding="utf-8")
    page = Page(text)
    assert {tag for tag, _ in page.tags} & {"script", "link", "iframe", "object", "img"} == set()
    loaded = [v for _, attrs in page.tags for k, v in attrs.items() if k in ("src", "href", "xlink:href") and v]
    assert [v for v in loaded if not v.startswith("#")] == []
    assert "@import" not in text
    assert [u for u in re.findall(r"url\(([^)]*)\)", text) if not u.startswith("#")] == []


def test_ids_of_the_plots_do_not_meet(run: Path) -> None:
    page = Page((run / "report" / "index.html").read_text(encoding="utf-8"))
    ids = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
    assert len(ids) > 50
    assert len(ids) == len(set(ids))
    defined = {f"#{i}" for i in ids}
    used = {v for _, attrs in page.tags for k, v in attrs.items() if k == "xlink:href" and v}
    used |= {m for _, attrs in page.tags for v in attrs.values() if v for m in re.findall(r"url\((#[^)]*)\)", v)}
    assert used
    assert used <= defined


def test_plots_are_xml_and_carry_words(run: Path) -> None:
    names = sorted(p.stem for p in (run / "report").glob("*.svg"))
    assert names == ["before-after", "cost", "evaluation", "loss", "metrics"]
    for name in names:
        ET.parse(run / "report" / f"{name}.svg")
    labels = [a["aria-label"] for _, a in Page((run / "report" / "index.html").read_text()).tags if "aria-label" in a]
    assert "STS-B 82.03 before, 80.71 after, worse" in " ".join(filter(None, labels))
    assert "the checkpoint of update 250" in " ".join(filter(None, labels))


def test_markdown_has_the_table_and_the_recipe(run: Path) -> None:
    report = (run / "report" / "report.md").read_text(encoding="utf-8")
    assert "| pydocs-test | ndcg@10 | 46.93 | 52.88 | +5.95 | +4.75 to +7.15 | ▲ better |" in report
    assert "```yaml\nobjective:\n  name: infonce\n```" in report
    assert all((run / "report" / p).is_file() for p in re.findall(r"\]\(([\w-]+\.svg)\)", report))


def test_the_same_record_gives_the_same_files(run: Path) -> None:
    before = {p.name: p.read_bytes() for p in (run / "report").iterdir()}
    write_report(run)
    assert {p.name: p.read_bytes() for p in (run / "report").iterdir()} == before


def test_texts_stay_texts(tmp_path: Path) -> None:
    made = records.record(warnings=[ATTACK], versions={ATTACK: ATTACK}, plan={"lines": [ATTACK, "````"]})
    made.recipe["model"]["base"] = ATTACK
    made.data[0]["name"] = ATTACK
    for scores in (made.scores_before, made.scores_after):
        assert scores is not None
        scores["tasks"][0]["task"] = ATTACK
        scores["suite"] = scores["fingerprint"] = ATTACK
    recipe = f"# ```\n# </code></pre>{ATTACK}\n"
    page = page_of(records.write(tmp_path / "run", made, recipe))
    assert "script" not in {tag for tag, _ in page.tags}
    assert "a" not in {tag for tag, _ in page.tags}
    assert page.text.count('<script>alert("x")</script>') >= 8
    assert "{{ 7 * 7 }}" in page.text
    report = (tmp_path / "run" / "report" / "report.md").read_text(encoding="utf-8")
    outside, inside = report.split("`````yaml\n")
    outside = re.sub("`{5}text\n.*?`{5}\n", "", outside, flags=re.DOTALL)
    assert "<script>" not in outside
    assert "[link](" not in outside
    assert inside.endswith("`````\n")
    widths = {block: {len(re.findall(r"(?<!\\)\|", row)) for row in rows} for block, rows in _tables(outside)}
    assert len(widths) == 4
    assert all(len(w) == 1 for w in widths.values()), widths


MARKUP = [
    *(
        "http://evil.example/a_b",
        "see https://evil.example.",
        "ftp://evil.example",
        "www.evil.example",
        "WWW.evil.example",
    ),
    *(
        "mailto:me@evil.example",
        "me@evil.example",
        "xmpp:me@evil.example",
        "~~gone~~",
        "~~~\ncode",
        "# title",
        "###### t",
    ),
    *("- item", "+ item", "* item", "1. item", "12) item", "> quote", "---", "===", "***", "| cell", "`code`", "``a``"),
    *(
        "<b>x</b>",
        "&lt;",
        "![a](b)",
        "[a](b)",
        "[a]: b",
        "WWW.evil.example",
        "###### t",
        "*a* _b_ __c__",
        "$x$",
        "\\",
        "a  \nb",
        "    code",
        "\t# x",
    ),
]


def named(text: str) -> RunRecord:
    """A record in which `text` is a warning (in a list), a task, a source (in tables), a model (in a sentence)."""
    made = records.record(warnings=[text])
    made.recipe["model"]["base"] = made.data[0]["name"] = text
    assert made.scores_after is not None
    made.scores_after["tasks"][0]["task"] = text
    return made


def markdown_of(folder: Path, record: RunRecord) -> tuple[str, list[Token]]:
    report = write_report(records.write(folder, record)).with_name("report.md").read_text(encoding="utf-8")
    tokens = MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(report)
    return report, [inner for token in tokens for inner in (token, *(token.children or []))]


def kinds_of(tokens: list[Token]) -> list[str]:
    return [t.type for t in tokens if t.type not in ("text", "text_special", "softbreak", "html_inline")]


@pytest.fixture(scope="module")
def plain_kinds(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plots, "draw", lambda record: [])
        return kinds_of(markdown_of(tmp_path_factory.mktemp("plain"), named("w"))[1])


@pytest.mark.parametrize("text", MARKUP)
def test_markup_in_names_is_text_in_markdown(
    tmp_path: Path, text: str, plain_kinds: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plots, "draw", lambda record: [])  # the slow part, which these texts do not reach
    report, tokens = markdown_of(tmp_path / "run", named(text))
    assert {t.content for t in tokens if t.type == "html_inline"} <= {"<!-- -->"}
    assert not re.search(r"(?i)(?<!\\):(?=//)|mailto:|xmpp:|www\.|[\w.+-]@[\w-]+\.\w", report)
    assert kinds_of(tokens) == plain_kinds


def test_control_characters_are_shown_in_every_file(tmp_path: Path) -> None:
    hostile = "a\x1b[2J\x9b\x7f\u202e\u200b\n# b"
    made = records.record(warnings=[hostile], versions={hostile: hostile}, plan={"lines": [hostile]})
    made.recipe["model"]["base"] = made.data[0]["name"] = hostile
    for scores in (made.scores_before, made.scores_after):
        assert scores is not None
        scores["tasks"][0]["task"] = scores["suite"] = hostile
    made.evaluations[0][f"eval_{hostile}"] = 1.0
    made.curve[0][hostile] = 1.0
    run = records.write(tmp_path / "run", made, f"# {hostile}\n")
    write_report(run)
    for file in (run / "report").iterdir():
        text = file.read_text(encoding="utf-8")
        assert visible(text, lines=True) == text, file.name
    assert r"a\x1b[2J\x9b\x7f\u202e\u200b\n# b" in Page((run / "report" / "index.html").read_text()).text


def _tables(text: str) -> list[tuple[int, list[str]]]:
    blocks = [b for b in text.split("\n\n") if b.lstrip().startswith("|")]
    return [(i, [r for r in b.splitlines() if r.startswith("|")]) for i, b in enumerate(blocks)]


def test_secrets_do_not_reach_the_report(tmp_path: Path) -> None:
    token = "hf_" + "aB3dE5fG7h" * 3
    made = records.record(warnings=[f"could not read https://me:hunter22@example.org/x with {token}"])
    made.recipe["model"]["base"] = f"org/model?token={token}"
    made.data[0]["name"] = token
    run = records.write(tmp_path / "run", made, f"model:\n  base: {token}\n")
    write_report(run)
    for file in (run / "report").iterdir():
        text = file.read_text(encoding="utf-8")
        assert token not in text, file.name
        assert "hunter22" not in text, file.name
    assert "[redacted]" in (run / "report" / "index.html").read_text(encoding="utf-8")


PRIVATE = "/home/ann/Secret Client/data"


def test_no_absolute_path_reaches_the_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever part of the record or the recipe holds one: a person who passes a report on gives no folder away."""
    monkeypatch.setenv("HOME", "/home/ann")
    run = tmp_path / "runs" / "first"
    made = records.record(
        warnings=[f"{PRIVATE}/faq.tsv: 3 rows skipped: empty query", f"the batch is in {run}/checkpoints/failed.json"],
        plan={"lines": [f"data         {PRIVATE}/faq.tsv: 12 rows", f"             more of {PRIVATE}"]},
        versions={"python": "3.11 at /home/ann/.venv/bin/python"},
    )
    made.recipe["model"]["base"] = f"{PRIVATE}/model"
    made.data[1]["name"] = f"{PRIVATE}/faq.tsv"
    assert made.scores_before is not None
    made.scores_before["suite"] = f"{PRIVATE}/suite.yaml"
    records.write(run, made, f"model:\n  base: {PRIVATE}/model\ndata:\n- path: {PRIVATE}/faq.tsv\n")
    text = page_of(run).text
    for file in (run / "report").iterdir():
        written = file.read_text(encoding="utf-8")
        for private in ("/home", "ann/", "Secret Client", str(tmp_path), str(Path.cwd())):
            assert private not in written, (file.name, private)
    assert "…/model with infonce" in text
    assert "…/faq.tsv: 3 rows skipped: empty query" in text
    assert "the batch is in checkpoints/failed.json" in text
    assert "base: …/model" in (run / "report" / "report.md").read_text(encoding="utf-8")


def test_the_plan_is_a_list_that_wraps(tmp_path: Path) -> None:
    lines = [
        "data         a.tsv: 3 rows",
        "             roles query",
        "warning      eval.suite: none",
        "               cure: set it",
    ]
    text = write_report(records.write(tmp_path / "run", records.record(plan={"lines": lines}))).read_text("utf-8")
    plan = re.sub(r"\s+", " ", text.split('<dl class="plan">')[1].split("</dl>")[0])
    assert "<dt>data</dt><dd>a.tsv: 3 rows<br>roles query</dd>" in plan
    assert "<dt>warning</dt><dd>eval.suite: none<br>cure: set it</dd>" in plan


def test_the_page_follows_the_reader_s_choice_of_light_or_dark(run: Path) -> None:
    text = (run / "report" / "index.html").read_text(encoding="utf-8")
    style = text.split("<style>")[1].split("</style>")[0]
    light, dark = style.split("prefers-color-scheme: dark")
    assert "--paper: #ffffff" in light and "--ink: #1f2430" in light
    assert "--paper: #14171f" in dark.split("}")[0] and "--ink: #e6e9ef" in dark.split("}")[0]
    outside = style.replace("--", "\n--")
    assert re.findall(r"^(?!--).*#[0-9a-f]{3,6}\b.*$", outside, re.M) == [], "a colour that is the same on both pages"
    assert not re.search(r"#[0-9a-f]{6}\b", text.split("<main>")[1]), "a plot with colours of its own"


def test_every_cell_of_a_table_that_becomes_a_list_has_its_name(run: Path) -> None:
    page = Page((run / "report" / "index.html").read_text(encoding="utf-8"))
    inside = False
    named = []
    for tag, attrs in page.tags:
        if tag == "table":
            inside = attrs.get("class") == "cards"
        elif tag == "td" and inside and attrs.get("class") != "title":
            named.append(attrs.get("data-name"))
    assert len(named) == 4 * 6 + 2 * 3
    assert all(named)


def test_a_bare_record_still_makes_a_page(tmp_path: Path) -> None:
    run = records.write(tmp_path / "run", RunRecord(recipe_hash="0", recipe={}))
    (run / "recipe.yaml").unlink()
    text = page_of(run).text
    assert "Not measured: the recipe names no evaluation suite." in text
    for absent in ("Plots", "Results", "Warnings", "Data", "Plan", "Recipe"):
        assert absent not in text
    assert list((run / "report").glob("*.svg")) == []


def test_measured_only_after_training(tmp_path: Path) -> None:
    run = records.write(tmp_path / "run", records.record(scores_before=None, comparison=[]))
    assert "Measured only after training: the average of 3 tasks is 61.70." in page_of(run).text
    assert not (run / "report" / "before-after.svg").exists()


@pytest.mark.parametrize(("after", "answer"), [(50.0, "Yes: pydocs"), (41.0, "Not clearly: pydocs"), (30.0, "No, it")])
def test_one_task_needs_no_average(tmp_path: Path, after: float, answer: str) -> None:
    def scores(value: float) -> dict[str, object]:
        task = {"task": "pydocs", "type": "retrieval", "main": "ndcg@10", "metrics": {"ndcg@10": value}}
        return {"suite": "s", "fingerprint": "f", "average": value, "tasks": [task]}

    difference = {"value": after - 40, "low": after - 42, "high": after - 38, "level": 0.95}
    made = records.record(
        scores_before=scores(40.0),
        scores_after=scores(after),
        comparison=[{"task": "pydocs", "difference": difference}],
    )
    text = page_of(records.write(tmp_path / "run", made)).text
    assert answer in text
    assert "average of" not in text


def test_values_that_are_not_finite_are_left_out(tmp_path: Path) -> None:
    made = records.record()
    for line in made.curve[::2]:
        line["hardest_negative"] = float("nan")
        line["loss"] = float("inf")
    page_of(records.write(tmp_path / "run", made))
    assert (tmp_path / "run" / "report" / "metrics.svg").is_file()


def test_throughput_is_drawn_where_it_was_logged(tmp_path: Path) -> None:
    made = records.record()
    for line in made.curve:
        line["seconds"] = 4.0
    assert _height(tmp_path / "rate", made) > _height(tmp_path / "padding", records.record()) + 40


def test_a_run_that_padded_nothing_has_no_curve_of_it(tmp_path: Path) -> None:
    made = records.record()
    for line in made.curve:
        line["padding"] = 0.0
    assert _height(tmp_path / "packed", made) < _height(tmp_path / "padding", records.record()) - 40


def _height(folder: Path, made: RunRecord) -> float:
    write_report(records.write(folder, made))
    return float(ET.parse(folder / "report" / "cost.svg").getroot().attrib["viewBox"].split()[3])


def test_a_folder_without_a_record_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EmbedkitError, match="no run record here"):
        write_report(tmp_path)


def test_summary_table() -> None:
    console = Console(width=80, record=True, color_system=None)
    console.print(summary_table(records.record()))
    rows = [re.split(r" {2,}", line.strip()) for line in console.export_text().splitlines()]
    assert ["task", "metric", "before", "after", "difference", "95% interval", "verdict"] in rows
    assert ["pydocs-test", "ndcg@10", "46.93", "52.88", "+5.95", "+4.75 to +7.15", "▲ better"] in rows
    assert ["STS-B", "spearman", "82.03", "80.71", "-1.32", "-1.82 to -0.82", "▼ worse"] in rows
    assert ["average", "60.12", "61.70", "+1.58", "+0.82 to +2.35", "▲ better"] in rows


def test_a_narrow_summary_leaves_whole_columns_out() -> None:
    console = Console(width=60, record=True, color_system=None)
    console.print(summary_table(records.record()))
    text = console.export_text()
    rows = [re.split(r" {2,}", line.strip()) for line in text.splitlines()]
    assert ["pydocs-test", "52.88", "+5.95", "+4.75 to +7.15", "▲ better"] in rows
    assert "Left out, the terminal being narrow: metric, before" in text


def test_summary_table_shows_brackets_in_a_name_as_they_are() -> None:
    made = records.record()
    assert made.scores_after is not None
    made.scores_after["tasks"][0]["task"] = "[red]x[/red] [/]"
    console = Console(width=140, record=True, color_system=None)
    console.print(summary_table(made))
    assert "[red]x[/red] [/]" in console.export_text()


def test_what_changed_geometry_and_lengths_stand_in_page_and_markdown(tmp_path: Path) -> None:
    """Once from ``insight.json``, and the same again from what lies there: nothing else is asked."""
    from tests.publish.test_browser import hostile

    _, found = hostile("a | query")
    run = records.write(tmp_path / "run", records.record())
    insight.write_insight(run, found)
    page = page_of(run)
    assert "▲ Better: +1.58 on average of 3 tasks (+0.82 to +2.35)" in page.text
    assert "3 queries better, 2 worse, 1 the same (by ndcg@10)" in page.text
    assert "rank 1,034 → 1 of 1,954" in page.text and "stood on top before a | query" in page.text
    assert "rank 12.5 → 3 of 1,379; by its grade 4.2 it is 2.5" in page.text
    assert "RankMe directions in use, by the entropy of singular values; large: many 91.0 91.0" in page.text
    assert "a | query document 1,000 40 300 12,345 128 31.0%" in page.text
    report = (run / "report" / "report.md").read_text(encoding="utf-8")
    assert "  - query: a \\| query" in report and "| RankMe | 91.0 | 91.0 |" in report
    assert {"similarities-0", "spectrum-1", "map-0"} <= {p.stem for p in (run / "report").glob("*.svg")}
    before = {p.name: p.read_bytes() for p in (run / "report").iterdir()}
    write_report(run)
    assert {p.name: p.read_bytes() for p in (run / "report").iterdir()} == before


def test_an_insight_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    run = records.write(tmp_path / "run", records.record())
    (run / insight.FILE).write_text("{")
    with pytest.raises(RecordError, match="is damaged"):
        write_report(run)
