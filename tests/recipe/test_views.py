"""Views in a recipe: what `check` says of each, what it refuses and warns of."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from embedkit.recipe.load import load
from embedkit.recipe.plan import Plan, plan
from embedkit.recipe.schema import Views
from embedkit.recipe.views import Strength, Variant, strengthened, variants
from tests.recipe.conftest import Write

Make = Callable[[str], Plan]
TEXT = "data: {sources: [{path: text.txt}]}\ntrain: {batch_size: 16}\neval: {suite: mini}\n"
TENSION = "views: {pairing: tension}\nobjective: contrastive_tension\n"


@pytest.fixture
def make(write: Write) -> Make:
    """Plan a recipe on a file of bare text and a file of pairs."""
    Path("text.txt").write_text("a sentence\n" * 100)
    Path("pairs.jsonl").write_text('{"query": "q", "positive": "p"}\n' * 100)

    def make(text: str) -> Plan:
        loaded = load(write(text))
        return plan(loaded.recipe, where=loaded.where, environ={})

    return make


def said(plan: Plan) -> str:
    return "\n".join(plan.lines())


def test_the_plan_says_what_each_view_does(make: Make) -> None:
    made = make(
        TEXT + "model: {dropout: 0.0}\nviews:\n  count: 3\n  transforms:\n"
        "  - [{name: feature_cutoff, rate: 0.2}]\n"
        "  - [{name: delete_words, rate: 0.25}, shuffle]\n"
        "  - [{name: dropout, rate: 0.1}]\n"
    )
    assert not made.refusals
    assert "view 1: 20% of the embedding columns zeroed; no dropout" in said(made)
    assert "view 2: 25% of the words left out; token positions shuffled; no dropout" in said(made)
    assert "view 3: dropout 0.1" in said(made)
    assert "views        each text is encoded 2 times; the views differ by dropout" in said(make(TEXT))


MIX = """
data:
  sources: [{path: text.txt%s}, {path: made.txt, generated: true%s}]
views:
  transforms: [[{name: delete_words, rate: 0.2}, shuffle], [{name: dropout, rate: 0.4}]]
  strength: {%s}
train: {batch_size: 10}
eval: {suite: mini}
"""


@pytest.mark.parametrize(
    ("real", "made", "options", "factor", "share", "rates"),
    [
        ("", "", "", "0.5", "80%", ("10%", "0.2")),  # 100 rows and 400
        (", repeat: 4", "", "", "0.625", "50%", ("13%", "0.25")),
        (", weight: 3", ", weight: 1", "", "0.813", "25%", ("16%", "0.325")),
        (", weight: 3", ", weight: 1", "share: 0.5, factor: 0.2", "0.6", "25%", ("12%", "0.24")),
    ],
)
def test_views_are_weaker_the_more_is_generated(
    make: Make, real: str, made: str, options: str, factor: str, share: str, rates: tuple[str, str]
) -> None:
    Path("made.txt").write_text("another sentence\n" * 400)
    found = make(MIX % (real, made, options))
    assert not found.refusals
    assert f"all rates x {factor}: {share} of the batches are of generated rows" in said(found)
    assert f"view 1: {rates[0]} of the words left out; token positions shuffled" in said(found)
    assert f"view 2: dropout {rates[1]}\n" in said(found)


def test_a_strength_needs_a_mix_and_rates(make: Make) -> None:
    Path("made.txt").write_text("another sentence\n" * 400)
    mix = MIX % ("", "", "")
    assert "and here all of it is" in found_in(make(mix.replace("text.txt", "text.txt, generated: true")))
    assert "no source is marked as generated" in found_in(make(mix.replace("generated: true", "generated: false")))
    without = mix.replace("[{name: delete_words, rate: 0.2}, shuffle], [{name: dropout, rate: 0.4}]", "[shuffle]")
    assert "no view has a transform with a rate" in found_in(make(without))
    unknown = make(mix.replace("made.txt", "nowhere.txt"))
    assert "unknown until the data is loaded" in said(unknown) and "20% of the words" in said(unknown)


def found_in(plan: Plan) -> str:
    return "\n".join(problem.what for problem in plan.refusals)


def test_the_line_from_strong_to_weak() -> None:
    line = Strength()
    assert line.at(0.0) == 1.0 and line.at(2 / 3) == pytest.approx(0.5, abs=1e-3) and line.at(1.0) == 0.5
    assert Strength(share=1.0, factor=0.25).at(0.5) == pytest.approx(0.625) and Strength(factor=1.0).at(0.5) == 1.0
    views = Views.model_validate({"transforms": [[{"name": "repeat_words", "rate": 0.4}, {"name": "shuffle"}]]})
    assert strengthened(views, 0.9) is views
    scaled = strengthened(views.model_copy(update={"strength": line}), 0.9)
    assert [vars(t) for t in scaled.transforms[0]] == [
        {"name": "repeat_words", "rate": 0.2, "least": 2},
        {"name": "shuffle"},
    ]


def test_the_plan_says_how_texts_are_paired(make: Make) -> None:
    made = make(TEXT + TENSION + "model: {dropout: 0.0, towers: 2}\n")
    assert not made.refusals
    assert "1 of 8 texts is paired with itself" in said(made)
    assert "view 1: no dropout; tower 1" in said(made) and "view 2: no dropout; tower 2" in said(made)


@pytest.mark.parametrize(
    ("text", "where", "part"),
    [
        ("model: {dropout: 0.0}", "model.dropout", "differ by dropout only"),
        (
            "model: {dropout: 0.0}\nviews: {count: 3, transforms: [[shuffle]]}",
            "views.transforms",
            "views 2, 3 are the same",
        ),
        (
            "views: {transforms: [[{name: dropout, rate: 0.0}], [{name: dropout, rate: 0.0}]]}",
            "views.transforms",
            "views 1, 2 are the same",
        ),
        ("views: {pairing: tension}", "objective", "pull them together"),
        (
            "views: {transforms: [[{name: substitute_words, rate: 0.5, source: synonyms, synonyms: no.tsv}]]}",
            "views.transforms.0.0.synonyms",
            "no such file: no.tsv",
        ),
        (
            "views: {transforms: [[{name: template, file: no.txt}]]}",
            "views.transforms.0.0.file",
            "no such file: no.txt",
        ),
        (
            "views: {transforms: [[{name: template, texts: ['{text} {label}'], demonstrations: {}}]]}",
            "data.sources.0",
            "text.txt has no labels",
        ),
    ],
)
def test_refusals(make: Make, text: str, where: str, part: str) -> None:
    found = make(f"{TEXT}{text}\n").refusals
    assert len(found) == 1, found
    assert found[0].where.endswith(where) or where in str(found[0]), found
    assert part in found[0].what and found[0].cure


@pytest.mark.parametrize(
    "text",
    [
        "model: {dropout: 0.0}\nviews: {transforms: [[shuffle]]}",  # one plain view is no problem
        "model: {dropout: 0.0}\nviews: {transforms: [[{name: dropout, rate: 0.1}], [{name: dropout, rate: 0.2}]]}",
        "model: {dropout: 0.0, towers: 2}",
    ],
)
def test_views_that_differ_are_not_refused(make: Make, text: str) -> None:
    assert not make(f"{TEXT}{text}\n").refusals


def test_transforms_need_text(make: Make) -> None:
    pairs = TEXT.replace("text.txt", "pairs.jsonl")
    found = make(pairs + "views: {transforms: [[shuffle]]}\n").refusals
    assert [p.what for p in found] == ["views are made of unlabelled text, and no source has the role text"]


def test_warnings_of_contrastive_tension(make: Make) -> None:
    found = [w.what for w in make(TEXT + TENSION).warnings]
    assert any("trains two models" in w for w in found) and any("without dropout" in w for w in found)
    found = [w.what for w in make(TEXT + TENSION + "model: {dropout: 0.0, towers: 2}\n").warnings]
    assert not any("Contrastive" in w for w in found)


@pytest.mark.parametrize(
    ("line", "parts"),
    [
        ("views: {transforms: [[], [], []]}", ["views.transforms has 3 lists", "there are 2 views"]),
        ("views: {pairing: tension, count: 3}", ["makes pairs", "views.count is 3"]),
        ("views: {transforms: [[{name: substitute_words, rate: 0.5, source: synonyms}]]}", ["none is named"]),
        ("views: {transforms: [[{name: shufle}]]}", ["unknown view 'shufle'", "did you mean 'shuffle'"]),
        ("views: {transforms: [[{name: token_cutoff, ratio: 0.5}]]}", ["ratio", "rate"]),
        ("views: {transforms: [[{name: delete_words}]]}", ["rate"]),
        ("views: {transforms: [[{name: template, texts: ['{text} a']}]]}", ["nothing to draw", "two templates"]),
        ("views: {transforms: [[template]]}", ["exactly one of texts, file"]),
        ("views: {transforms: [[{name: template, texts: ['{text} a', 'b']}]]}", ["0 places for the text"]),
        (
            "views: {transforms: [[{name: template, texts: ['{text} a', '{text} {label}'], demonstrations: {}}]]}",
            ["'{text} a' has no place for the label"],
        ),
        (
            "views: {transforms: [[shuffle, {name: template, texts: ['{text} {label}'], demonstrations: {}}]]}",
            ["another transform comes first"],
        ),
        ("views: {transforms: [[{name: reorder_words, rate: 1.5, span: 1}]]}", ["rate"]),
    ],
)
def test_mistakes_have_a_line(refused: Callable[..., str], line: str, parts: list[str]) -> None:
    message = refused(f"{TEXT}{line}\n")
    assert message.startswith("r.yaml:4: ") or "\nr.yaml:4: " in message, message
    for part in parts:
        assert part in message


def test_variants_are_the_ways_to_encode() -> None:
    rates = [[], [{"name": "dropout", "rate": 0.0}], [{"name": "dropout", "rate": 0.2}]]
    views = Views.model_validate({"count": 4, "transforms": rates})
    assert variants(views, 1) == (Variant(), Variant(0.0), Variant(0.2))
    assert variants(Views(), 2) == (Variant(), Variant(tower=1))
    assert variants(views, 2) == (Variant(), Variant(tower=1), Variant(0.0, 1), Variant(0.2, 1))
