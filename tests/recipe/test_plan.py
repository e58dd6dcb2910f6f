"""The plan: its numbers in words, every refusal, every warning."""

from __future__ import annotations

import dataclasses
import gzip
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from embedkit.errors import RecipeError
from embedkit.recipe.load import load
from embedkit.recipe.objectives.contrastive import InfoNCE
from embedkit.recipe.objectives.scored import CoSENT, MarginMSE
from embedkit.recipe.plan import Plan, plan
from embedkit.recipe.planning import estimate, rules, rules_lexical, rules_machine, rules_rationale, rules_reranker
from embedkit.recipe.planning.contents import Contents, look
from embedkit.recipe.planning.words import in_short
from embedkit.recipe.pool import is_mined
from embedkit.recipe.schema import Recipe
from embedkit.recipe.suite import Suite
from tests.recipe.conftest import Write

BERT = {
    "num_hidden_layers": 6,
    "hidden_size": 384,
    "num_attention_heads": 12,
    "intermediate_size": 1536,
    "vocab_size": 30522,
    "max_position_embeddings": 512,
}
PAIRS = "{query: a, positive: b}\n" * 100
Make = Callable[..., Plan]


@pytest.fixture
def make(write: Write, monkeypatch: pytest.MonkeyPatch) -> Make:
    """Plan a recipe whose data files are in the working folder; 8 GiB are free and there is no GPU."""
    monkeypatch.setattr(estimate, "_free_memory", lambda: 8 * 2**30)
    monkeypatch.setattr(estimate, "uses_gpu", lambda device: device == "cuda")
    rows = [json.dumps({"query": f"q{i}", "positive": f"p{i}"}) for i in range(100)]
    Path("pairs.jsonl").write_text("\n".join(rows) + "\n")
    Path("triplets.tsv").write_text("anchor\tentailment\tcontradiction\n" + "a\tb\tc\n" * 200)
    Path("scored.csv").write_text("sentence1,sentence2,score\n" + "a,b,0.5\n" * 150)
    Path("text.txt").write_text("a sentence\n" * 300)
    Path("labels.csv").write_text("sentence,other,intent\n" + "a,b,1\n" * 150)
    Path("b.jsonl").write_text(Path("pairs.jsonl").read_text())
    with gzip.open("text.txt.gz", "wt") as file:
        file.write("a sentence\n" * 300)

    def make(text: str, *overrides: str, **options: Any) -> Plan:
        loaded = load(write(text), overrides)
        return plan(loaded.recipe, where=loaded.where, environ={}, **options)

    return make


def source(path: str, roles: str = "", more: str = "") -> str:
    return f"data:\n  sources:\n    - path: {path}\n      roles: {{{roles}}}\n{more}"


PAIR = source("pairs.jsonl")
TRIPLETS = source("triplets.tsv", "query: anchor, positive: entailment, negative: contradiction")
SCORED = source("scored.csv", "query: sentence1, positive: sentence2")
TEXT = source("text.txt")
TWO = "data:\n  sources:\n    - {path: pairs.jsonl, weight: 100}\n    - {path: b.jsonl, weight: 1}\n"


def only(problems: tuple[Any, ...]) -> str:
    assert len(problems) == 1, [str(p) for p in problems]
    return str(problems[0])


class TestNumbers:
    def test_pairs(self, make: Make) -> None:
        made = make(PAIR, "train.batch_size=32", "eval.suite=sts")
        assert (made.updates, made.pool, made.refusals, made.warnings) == (3, 32, (), ())
        part = made.sources[0]
        assert (part.rows, part.batches, part.rows_per_step, part.roles) == (100, 3, 64, ("query", "positive"))
        assert [s["total"] for s in part.seen] == [31]

    def test_triplets_over_processes(self, make: Make) -> None:
        made = make(TRIPLETS, "train.batch_size=32", "train.accumulation=2", processes=2)
        assert made.sources[0].seen == (
            {
                "own": 1,
                "others": 31,
                "others_explicit": 31,
                "anchor": "query",
                "noise": 0,
                "less": "those masked as duplicates",
                "total": 63,
            },
        )
        assert (made.memory.rows, made.updates) == (16 * 3, 3)
        apart = make(TRIPLETS, "train.batch_size=32", "negatives.across_processes=false", processes=2)
        assert (apart.pool, apart.sources[0].seen[0]["total"]) == (16, 31)

    def test_places_for_negatives_that_a_source_has_not_are_none(self, make: Make) -> None:
        graded = "{path: scored.csv, roles: {query: sentence1, positive: sentence2}, objective: {name: cosent}}"
        both = f"data:\n  sources:\n    - path: pairs.jsonl\n    - {graded}\nmining: {{}}\n"
        made = make(both, "negatives.per_query=4", "train.batch_size=16")
        assert [(part.negatives, part.rows_per_step) for part in made.sources] == [(4, 16 * 6), (0, 16 * 2)]

    def test_two_views_of_text(self, make: Make) -> None:
        made = make(TEXT, "train.batch_size=64", "views.count=3")
        part = made.sources[0]
        assert (part.rows, part.positives, part.negatives, part.rows_per_step) == (300, 2, 0, 192)
        assert part.seen[0]["total"] == 63 * 2
        assert make(source("text.txt.gz")).sources[0].rows == 300

    def test_counting_the_rows_of_every_format(self, make: Make, tmp_path: Path) -> None:
        import pyarrow
        import pyarrow.parquet

        pyarrow.parquet.write_table(pyarrow.table({"query": ["a"] * 70, "positive": ["b"] * 70}), "pairs.parquet")
        for name in ("a", "b"):
            Path(f"part-{name}.jsonl").write_text(
                '{"query": "q", "positive": "p"}\n' * 39 + '{"query": "q", "positive": "p"}'
            )
        for path, rows in (
            ("pairs.parquet", 70), ("scored.csv", 150), ("part-*.jsonl", 80), (str(tmp_path / "part-*.jsonl"), 80),
            (str(tmp_path / "part-a.jsonl"), 40),
        ):  # fmt: skip
            assert make(source(path)).sources[0].rows == rows
        assert make(PAIR, "data.sources.0.limit=10").sources[0].rows == 10

    def test_rows_given_by_the_caller_count(self, make: Make) -> None:
        assert make(PAIR, "train.batch_size=10", rows=[55]).updates == 5
        assert make("data: {sources: [{hub: x}]}", "train.batch_size=10", rows=[55]).updates == 5

    def test_what_is_unknown_is_said_to_be(self, make: Make) -> None:
        made = make("data: {sources: [{hub: owner/name}]}")
        text = "\n".join(made.lines())
        assert made.updates is None
        assert "owner/name: rows unknown until loaded; roles unknown until loaded; infonce" in text
        assert "unknown until the model is loaded" in text
        assert "unknown until the data is loaded" in text

    def test_declared_roles_are_shown(self, make: Make) -> None:
        text = "\n".join(make("data: {sources: [{hub: x, roles: {positive: b, query: a}}]}").lines())
        assert "x: rows unknown until loaded; roles query, positive; infonce" in text

    def test_triplets_made_of_text(self, make: Make) -> None:
        made = make(TEXT, "data.sources.0.debias={negatives: 2}", "negatives.per_query=2", "views.count=2")
        part = made.sources[0]
        assert (part.rows, part.roles, part.positives, part.negatives) == (300, ("query", "positive", "negative"), 1, 2)
        assert part.seen[0]["own"] == 2 and not made.refusals
        text = "\n".join(made.lines())
        assert "debias       encode 300 sentences once with" in text
        paired = make(LABELLED, *SETFIT)
        assert paired.sources[0].roles == ("query", "positive", "score") and paired.sources[0].rows is None
        line = "pairs of score 1 of texts of one class, each text with itself among them, of score 0 of others"
        assert f"pairs        {line}: oversampling" in paired.lines()
        anchored = make(LABELLED, "data.sources.0.label_texts={texts: {'1': a, '2': b}}").sources[0]
        assert anchored.roles == ("query", "positive", "negative", "label") and anchored.negatives == 1
        assert "positive from cos >= 0.6, else itself; 2 negative(s) from cos <= 0.3" in text
        assert make(TEXT, "data.sources.0.debias={no_positive: drop}").sources[0].rows is None
        assert make(TEXT, "data.sources.0.debias={no_positive: drop}", rows=[99]).sources[0].rows == 99
        assert make("data: {sources: [{hub: x, debias: {}}]}").sources[0].roles == ("query", "positive", "negative")

    def test_rows_written_in_the_recipe(self, make: Make) -> None:
        made = make("data: {sources: [{rows: [{query: a, positive: b, negative: [c, d]}]}]}", "train.batch_size=1")
        assert (made.sources[0].rows, made.sources[0].negatives) == (1, 1)
        assert "has 2 negatives per row, 1 drawn per step" in str(made.warnings)

    def test_memory(self, make: Make) -> None:
        made = make(TRIPLETS, "train.batch_size=64", "model.max_length=128", model_config=BERT)
        m = made.memory
        assert m.keep == 64 * 3 * 128 * (6 * (72 * 384 + 12 * 12 * 128) + 12 * 384)
        assert m.reforward == 2048 * (6 * (72 * 384 + 12 * 12 * 128) + 12 * 384)
        assert m.leaves == 2 * 64 * 3 * 384 * 4
        assert m.optimizer == 16 * (m.parameters or 0)
        lion = make(PAIR, "train.optimizer=lion", model_config=BERT).memory
        assert lion.optimizer == 12 * (lion.parameters or 0)
        assert (m.columns, m.rows_per_block, m.block) == (128, 64, 64 * 128 * 16)
        assert (m.graph, m.keep_up_to) == ("auto", 90)

    def test_graph(self, make: Make) -> None:
        assert make(PAIR, "model.max_length=32", model_config=BERT).memory.graph == "keep"
        assert make(PAIR, model_config=BERT).memory.graph == "auto"
        assert make(PAIR, model_config=BERT, tokens_per_row=20.0).memory.graph == "keep"
        assert make(PAIR, model_config=BERT, tokens_per_row=400.0).memory.graph == "reforward"
        assert make(PAIR, "train.graph=keep", model_config=BERT, tokens_per_row=400.0).memory.graph == "keep"
        assert make(PAIR, "train.device=cuda", model_config=BERT, tokens_per_row=20.0).memory.graph == "auto"

    @pytest.mark.parametrize(("device", "matrix"), [("cpu", 1), ("cuda", 0), ("mps", 1)])
    def test_a_gpu_keeps_no_attention_matrix(self, make: Make, device: str, matrix: int) -> None:
        made = make(PAIR, f"train.device={device}", "train.precision=bf16", model_config=BERT, tokens_per_row=20.0)
        assert made.memory.keep == 64 * 2 * 20 * (6 * (51 * 384 + matrix * 12 * 12 * 20) + 12 * 384)

    @pytest.mark.parametrize(("repeat", "said"), [("", []), (", repeat: 100", ["b.jsonl gets no batch in 2 updates"])])
    def test_a_source_beside_one_that_comes_often(self, make: Make, repeat: str, said: list[str]) -> None:
        text = f"data:\n  sources:\n    - {{path: pairs.jsonl{repeat}}}\n    - {{path: b.jsonl}}\n"
        found = make(text, "train.batch_size=10", "train.steps=2", "eval.suite=sts").warnings
        assert [problem.what for problem in found] == said

    def test_evaluations(self, make: Make) -> None:
        small = "{name: small, tasks: [{type: sts, name: A, files: [scored.csv]}]}"
        made = make(PAIR + f"eval: {{suite: sts, during: {small}, every: 10}}\n", "train.steps=35")
        text = "\n".join(made.lines())
        assert made.evaluation.times == 4
        assert "sts before and after training" in text
        assert "small every 10 updates, 4 times" in text  # after 10, 20, 30 and the last

    def test_words(self, make: Make) -> None:
        made = make(TRIPLETS, "train.accumulation=4", "model.max_length=32", model_config=BERT, processes=2)
        text = "\n".join(made.lines())
        assert "64 examples x 3 texts = 192 texts per batch, 32 on each of 2 processes" in text
        assert "a query sees 127 negatives: 63 in-batch + 1 own explicit + 63 explicit of other examples" in text
        assert "4 batches per update: it averages gradients and adds no negatives; the pool stays 64, not 256" in text
        assert "32 x 128 logits per block: 64 KiB" in text
        scored = make(SCORED + "objective: cosent\n").lines()
        assert any("all pairs of the batch are compared" in line for line in scored)
        assert any("sees all 64 examples at once" in line for line in scored)
        taught = make(PAIR + "objective: {name: st, loss: MSELoss, target: guide}\nguide: {model: m}\n").lines()
        assert any("st sees for each embedding the guide's of its query" in line for line in taught)

    def test_one_line_says_what_is_coming(self, make: Make) -> None:
        small = "{name: small, tasks: [{type: sts, name: A, files: [scored.csv]}]}"
        measured = PAIR + f"eval: {{suite: sts, during: {small}, every: 10}}\n"
        for made, line in (
            (make(measured, "train.steps=35"), "35 updates of 64 examples, evaluation before, during and after"),
            (
                make(measured, "train.steps=35", "eval.before=false"),
                "35 updates of 64 examples, evaluation during and after",
            ),
            (make(PAIR, "train.accumulation=4", "train.steps=1200"), "1,200 updates of 256 examples, no evaluation"),
        ):
            assert in_short(made).startswith(f"{line}; how long")

    def test_it_is_plain_data(self, make: Make) -> None:
        made = make(PAIR, "negatives.per_query=2", model_config=BERT)
        assert not any("negatives.per_query" in line for line in made.lines()), "refusals are raised, not listed"
        again = json.loads(json.dumps(dataclasses.asdict(made)))
        assert again["updates"] == made.updates
        assert "no source gives negatives" in again["refusals"][0]["what"]


NESTED = "objective={name: sum, terms: [{objective: {name: matryoshka, dims: [8], objective: infonce}}]}"
LABELLED = "data: {sources: [{path: labels.csv, roles: {text: sentence, label: intent}}]}\n"
REPLAYED = "{text: sentence, label: intent, memory: intent}"
SETFIT = ["data.sources.0.pairs={}", "objective=cosine_mse"]
REFUSED = [
    (TEXT, ["objective=none", "auxiliary=[{name: mlm}]", "train.prograd={}"], "from going against the start"),
    (TEXT, ["auxiliary=[mlm]", "train.encode_once=true"], "train.encode_once: auxiliary mlm reads every row"),
    (TEXT, ["auxiliary=[{name: mntp}]"], "model.bidirectional: mntp teaches a causal language model"),
    (PAIR, ["data.sources.0.score_split={}"], "score_split needs scored candidates"),
    (
        PAIR,
        ["data.sources.0.generated=true", "data.sources.0.streaming=true", "train.steps=2"],
        "data.sources.0.streaming: generated rows that equal another row are left out before training",
    ),
    (
        TEXT,
        ["views={transforms: [[{name: dropout, rate: 0.1}]], strength: {}}"],
        "views.strength: views are weaker the more of the mix is generated, and no source is marked as generated",
    ),
    (PAIR + "objective: {name: matryoshka, dims: [8], objective: moco}\n", [], "and matryoshka shows it several"),
    (PAIR, ["objective=moco", "heads=[{name: mlp}]"], "heads: the encoder's copy gives embeddings without batch heads"),
    (
        LABELLED,
        [f"data.sources.0.roles={REPLAYED}", "objective=replay_supcon", "model.from_scratch=true"],
        "model.from_scratch: replay_supcon takes positives from the model that training starts from",
    ),
    (LABELLED, ["objective=replay_supcon"], "objective replay_supcon needs label, memory, query"),
    (PAIR, ["data.sources.0.name=a [redacted]"], "data.sources.0.name: a secret was left out here"),
    (TEXT, ["mining={}"], "mining: negatives are mined for queries with positives, and no source gives both"),
    (PAIR, ["mining={}", "data.sources.0.streaming=true", "train.steps=2"], "a stream never has them all"),
    (SCORED + "objective: margin_mse\nmining: {}\n", [], "margin_mse needs a teacher's score of every negative"),
    (PAIR, ["mining={mode: background}", "model.towers=2"], "mining.mode: a search in the background has a model of"),
    (PAIR, ["train.report_to=[no_such_tracker]"], "no tracker called 'no_such_tracker'"),
    (PAIR, ["train.optimizer=adamw_torch_fuse"], "did you mean 'adamw_torch_fused'"),
    (PAIR, ["data.sources.0.debias={}"], "made of bare text, and pairs.jsonl gives positive, query"),
    (TEXT, ["data.sources.0.debias={}", "data.sources.0.streaming=true", "train.steps=2"], "a stream never has them"),
    (PAIR, ["data.sources.0.pairs={}"], "pairs is made of labelled texts, and pairs.jsonl gives positive, query"),
    (PAIR, ["data.sources.0.label_texts={template: '{label}'}"], "label_texts is made of labelled texts"),
    (LABELLED, ["data.sources.0.pairs={}", "objective=supcon"], "does not give label"),
    (LABELLED, [*SETFIT, "data.sources.0.debias={}"], "debias and pairs both make the rows of labels.csv"),
    (LABELLED, [*SETFIT, "data.sources.0.streaming=true", "train.steps=1"], "pairs needs all rows"),
    (LABELLED, [*SETFIT, "data.sources.0.clusters={batches: apart, kmeans: 2}"], "pairs are made before training"),
    (TEXT, ["model.soft_prompts={}", "model.lora={}"], "model.soft_prompts: soft prompts train on a frozen backbone"),
    (TEXT, ["model.soft_prompts={}", "model.freeze=[embeddings]"], "model.freeze: soft prompts freeze the whole"),
    (TEXT, ["model.soft_prompts={}", "model.max_length=500"], "500 tokens and 16 soft prompts are more than the 512"),
    (PAIR, ["model.frozen_tower=document"], "model.frozen_tower: with one tower queries and documents share"),
    (PAIR, ["data.sources.0.grades={}"], "data.sources.0.grades: pairs.jsonl has no grades to make weights of"),
    (PAIR, ["data.sources.0.clusters={batches: apart}"], "pairs.jsonl has no column of clusters, and none are made"),
    (TEXT, ["model.template={}", "model.include_prompt_in_pooling=false"], "cannot leave prompts out of the pooling"),
    (PAIR, ["objective.guide=absolute"], "objective: objective infonce asks a guide, and the recipe has none"),
    (TEXT, ["objective={name: none}"], "leaves nothing to train on"),
    (TEXT, ["eval.masked_lm=dev.txt"], "eval.masked_lm: masked-LM loss is measured with auxiliary mlm"),
    (TEXT, ["views.count=1", "objective=macl"], "views.count: one view of a text has no positive"),
    (SCORED.replace("sentence1", "sentence_1"), [], "r.yaml:4: data.sources.0.roles.query: scored.csv has no column"),
    (PAIR + "objective: cosent\n", [], "r.yaml:3: data.sources.0: objective cosent needs positive, query, score"),
    (TEXT + "objective: cosent\n", [], "does not give score"),
    (PAIR + "objective: triplet\n", [], "needs negative, positive, query; pairs.jsonl does not give negative"),
    (source("scored.csv", "query: sentence1"), [], "does not give positive\n  cure: name the column in roles"),
    (source("pairs.jsonl", "text: query, positive: positive"), [], "roles.text: role text means unlabelled text"),
    (PAIR, ["data.sources.0.streaming=true"], "epochs do not say how long\n  cure: set train.steps"),
    ("data: {sources: [{rows: [{text: a}], streaming: true}]}\n", ["train.steps=2"], "only files and Hub"),
    ("data: {sources: [{path: pairs.jsonl, weight: 1}, {path: text.txt}]}\n", [], "data.sources.1: some sources have"),
    (
        "data: {sources: [{path: pairs.jsonl, streaming: true}, {path: text.txt}]}\n",
        ["train.steps=3"],
        "data.sources.0.streaming: the share of a stream among several sources is unknown",
    ),
    (PAIR, ["train.batch_size=101"], "pairs.jsonl has 100 rows, less than one batch of 101\n  cure: set it to 100"),
    (PAIR, ["train.accumulation=2"], "override train.accumulation=2: train.accumulation: 1 epochs do not fill"),
    (PAIR, ["negatives.per_query=3"], "negatives.per_query: no source gives negatives"),
    (TRIPLETS, ["negatives={per_query: 1, hardest_of: 2}"], "negatives.hardest_of: the negatives of"),
    (PAIR, ["train.batch_size=1"], "objective: a query of pairs.jsonl sees no negatives: 1 example(s) in the pool"),
    (PAIR, ["objective.in_batch_negatives=false"], "sees no negatives: 64 example(s) in the pool, 0 explicit"),
    (TRIPLETS, ["negatives.per_query=0", "objective=triplet"], "objective triplet needs explicit negatives"),
    (PAIR, ["objective.hard_negative_weight=1"], "hard_negative_weight: pairs.jsonl gives no explicit negatives"),
    (PAIR, ["objective=symile"], "objective symile needs 2 positives or more per row, and a step takes 1"),
    (PAIR, ["objective=symile", "data.one_positive=all"], "needs 2 positives or more per row, and a step takes 1"),
    (TRIPLETS, ["objective=mv_dhel"], "objective mv_dhel has no place for explicit negatives, and a step takes 1"),
    (TRIPLETS, ["objective=clp"], "negatives.per_query: objective clp takes negatives in twos"),
    (TRIPLETS, ["objective=mixed_negatives"], "negatives.per_query: objective mixed_negatives mixes two or more hard"),
    (
        SCORED + "objective: cosent\nweighting: [{name: focal}]\n",
        [],
        "r.yaml:6: weighting: focal cannot reweight objective cosent of scored.csv",
    ),
    (PAIR + "weighting: [{name: hardness}]\n", [], "r.yaml:5: weighting.0: acts on explicit negatives, and no source"),
    (PAIR, ["objective={name: matryoshka, dims: [512, 64], objective: infonce}"], "512 is larger than the model's 384"),
    (
        PAIR,
        ["model.head={}", NESTED],
        "model.head.keep: matryoshka orders the output of the head, which is dropped",
    ),
    (
        "data: {sources: [{rows: [{text: a, label: x}, {text: b, label: y}], roles: {text: text, label: label}, "
        "label_texts: {texts: {x: one, y: two}}}]}\ntrain: {batch_size: 2, steps: 1}\n",
        ["objective=label_anchors"],
        "objective.angle_weight: rows has 2 label texts, and the angle of two is always the same",
    ),
    (
        TEXT,
        ["views.transforms=[[{name: template, texts: ['{text} {label}'], demonstrations: {}}]]"],
        "demonstrations need labelled texts, and text.txt has no labels",
    ),
    (
        PAIR,
        ["data.sources.0.templates={texts: ['{text}', 'b {text}']}", "data.sources.0.streaming=true", "train.steps=2"],
        "data.sources.0.templates: templates go by the place of a row",
    ),
    (
        TEXT,
        [
            "views.transforms=[[{name: template, texts: ['a {text}', 'b {text}']}]]",
            "eval.suite={tasks: [{type: few_shot, name: F, train: [a.tsv], files: [b.tsv], "
            "prompts: {seen: ['c {text}'], unseen: ['d {text}', 'b  {text}']}}]}",
        ],
        "eval.suite.tasks.0.prompts.unseen: template 'b  {text}' is held out, and training uses it",
    ),
    (PAIR, ["objective=cosine_pull"], "objective: cosine_pull alone draws all texts into one point"),
    (TEXT, ["model.dropout=0"], "the views of an unlabelled text differ by dropout only, and dropout is 0"),
    (TEXT, ["views.pairing=tension"], "tension also pairs different texts, and objective infonce does not look"),
    (TEXT, ["views.transforms=[[{name: substitute_words, rate: 0.5, source: synonyms, synonyms: no.tsv}]]"], "no.tsv"),
    (PAIR, ["views.transforms=[[shuffle]]"], "views are made of unlabelled text, and no source has the role text"),
    (PAIR, ["train.device=mps"], "one Apple GPU cannot serve several processes"),
    (PAIR, ["model.attention=flash_attention_2"], "flash_attention_2 computes in half precision, and train.pre"),
    (
        PAIR,
        ["model.attention=flash_attention_2", "train.precision=bf16", "train.device=cpu"],
        "flash_attention_2 runs on CUDA, and train.device is cpu\n  cure: use sdpa",
    ),
    (PAIR, ["model.max_length=600"], "600 is more than the 512 positions of the model\n  cure: at most 512"),
    (PAIR, ["model.lora={}", "model.freeze=[embeddings]"], "model.freeze: LoRA freezes the whole backbone already"),
    (PAIR, ["model.freeze=[all]"], "model.freeze: the whole backbone is frozen and nothing that is saved would train"),
    (PAIR, ["eval.every=1"], "eval.every: there is no suite to evaluate"),
    (PAIR, ["objective={name: w_mse, size: 24, eps: 0.1}"], "objective.size: groups of 24 do not divide the 64 ex"),
    (
        source("scored.csv", "query: sentence1, score: score"),
        ["objective={name: matryoshka, dims: [64], objective: conr}"],
        "conr has parameters of the embedding's size, and matryoshka cuts embeddings",
    ),
    (PAIR, ["objective={name: swav, code_views: 3}"], "code_views: 3 views have codes, and an example has 2"),
    (PAIR, ["objective=byol", "train.batch_size=1"], "byol normalises over the batch, and 1 example is in it"),
    (
        source("labels.csv", "query: sentence, positive: other, label: intent"),
        ["objective={name: sepclr, salient: 400}"],
        "objective.salient: 400 salient coordinates of 384 leave none",
    ),
    (PAIR, ["train.optimizer=sgd", "train.betas=[0.9, 0.99]"], "train.betas: sgd has none"),
    (PAIR, ["train.betas=[0.9, 1.0]"], "train.betas: must be in 0..1"),
    (
        PAIR,
        ["objective={name: storm, objective: vicreg}"],
        "storm weighs rows by their losses, and vicreg has one loss over the whole batch",
    ),
    (PAIR, ["objective={name: storm, objective: moco}"], "and moco remembers one batch after the other"),
    (PAIR, ["objective=w_mse"], "64 rows in 384 dimensions is singular, they cannot be whitened\n  cure: a head"),
    (PAIR, ["eval.suite=sts", "eval.keep=best"], "eval.keep: there is no best model: nothing is evaluated during"),
    (PAIR, ["eval.suite=sts", "eval.patience=2"], "eval.patience: counts evaluations, and none is done"),
    (PAIR, ["eval.suite=sts", "eval.during=sts"], "eval.during: no evaluation is done during training"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "overrides", "expected"), REFUSED)
def test_refusals(make: Make, text: str, overrides: list[str], expected: str) -> None:
    made = make(text, *overrides, model_config=BERT, processes=2 if "train.device=mps" in overrides else 1)
    message = only(made.refusals)
    assert expected in message
    assert "\n  cure: " in message
    with pytest.raises(RecipeError) as caught:
        made.refuse()
    assert str(caught.value) == message


def test_batch_must_divide_by_the_processes(make: Make) -> None:
    assert "64 is over all processes and does not divide by 3\n  cure: use a multiple of 3, e.g. 63" in only(
        make(PAIR, processes=3).refusals
    )


def test_pools_of_one_example_see_nothing(make: Make) -> None:
    made = make(PAIR, "train.batch_size=4", "negatives.across_processes=false", processes=4)
    assert "1 example(s) in the pool on each process" in only(made.refusals)


@pytest.mark.parametrize("variable", ["ACCELERATE_USE_FSDP", "ACCELERATE_USE_DEEPSPEED"])
def test_backends_that_cut_the_model_are_refused(write: Write, variable: str) -> None:
    recipe = load(write(PAIR)).recipe
    assert f"unset {variable}" in only(plan(recipe, environ={variable: "true"}).refusals)
    assert not plan(recipe, environ={variable: "false"}).refusals


def test_lora_without_peft_is_refused(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not make(PAIR, "model.lora={}").refusals
    monkeypatch.setitem(sys.modules, "peft", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert 'pip install "embedkit-train[lora]"' in only(make(PAIR, "model.lora={}").refusals)


@pytest.mark.parametrize(
    ("select", "near"),
    [("A/spearman", ""), ("B/recall@100", ""), ("B/recal@100", "B/recall@100"), ("C/spearman", "A/spearman")],
)
def test_the_selecting_metric_must_exist(make: Make, select: str, near: str) -> None:
    tasks = "{type: sts, name: A, files: [scored.csv]}, {type: retrieval, name: B, folder: beir}"
    recipe = PAIR + f"eval: {{suite: {{name: mine, tasks: [{tasks}]}}, every: 1, select: {select}}}\n"
    made = make(recipe)
    if not near:
        assert not made.refusals
    else:
        message = only(made.refusals)
        assert f"r.yaml:5: eval.select: suite 'mine' does not measure '{select}'" in message
        assert f"did you mean '{near}'?" in message


def test_a_suite_file_is_checked_once_it_is_read(make: Make) -> None:
    suite = Suite(tasks=({"type": "sts", "name": "A", "files": ("a.tsv",)},))
    recipe = PAIR + "eval: {suite: mine.yaml, every: 1, select: B/spearman}\n"
    assert not make(recipe).refusals
    assert "does not measure 'B/spearman'" in only(make(recipe, suite=suite).refusals)


def test_scored_pairs_suit_infonce_and_every_refusal_is_listed(make: Make) -> None:
    assert not make(SCORED).refusals
    made = make(PAIR, "train.batch_size=1", "model.freeze=[all]", "eval.every=2", processes=2)
    with pytest.raises(RecipeError, match=r"^4 problems\n"):
        made.refuse()


WARNED = [
    (PAIR, ["objective=sogclr", "train.epochs=1"], "a state per example, and the run sees each less than twice"),
    (PAIR, ["mining={}", "negatives.per_query=0"], "negatives.per_query: negatives are mined, and none is used"),
    (PAIR, ["mining={}", "negatives.per_query=9"], "mining.keep: 9 negatives per query and update, of 8 that are kept"),
    (PAIR, ["mining={from: 40}", "train.steps=40"], "mining.from: negatives are mined from update 40 on, and the run"),
    (PAIR, ["data.sources.0.name=ghp_a1B2a1B2a1B2a1B2"], "data.sources.0.name: holds what looks like a GitHub token"),
    (PAIR, ["model.revision=https://me:pa55@host"], "model.revision: holds what looks like a password in an address"),
    (SCORED, [], "gives the role score, which infonce does not use: pairs of low score train like the others"),
    (
        source("labels.csv", "query: sentence, positive: other, label: intent"),
        ["objective=supcon", "objective.labels=false"],
        "gives the role label, which supcon does not use: it has no effect",
    ),
    (TWO, ["train.steps=4"], "b.jsonl gets no batch in 4 updates"),
    (TEXT, ["model.template={}", "model.pooling=mean"], "model.pooling: a template asks for a word at its last token"),
    (TEXT, ["model.bidirectional=true"], "a plain causal language model is pooled at its last token"),
    (
        TEXT,
        ["views.pairing=tension", "objective=contrastive_tension", "model.towers=2"],
        "model.dropout: Contrastive Tension's authors train without dropout",
    ),
    (PAIR, ["guide.model=folder"], "guide: no objective asks the guide, which costs a pass over every text"),
    (TEXT, ["auxiliary=[tsdae]"], "views.transforms: auxiliary tsdae rebuilds damaged texts, and no view damages them"),
    (PAIR, ["model.base=./no"], "model.base: there is no folder './no'"),
    (PAIR, ["guide.model=../no", "objective.guide=absolute"], "guide.model: there is no folder"),
    (TEXT, ["auxiliary=[{name: replaced_tokens, generator: /no}]"], "auxiliary.0.generator: there is no folder '/no'"),
    (TEXT, ["auxiliary=[mlm]", "eval.masked_lm=no.txt"], "eval.masked_lm: there is no file 'no.txt'"),
    (PAIR, ["eval.suite=mini", "eval.data=no"], "eval.data: there is no folder 'no'"),
    ("data: {sources: [{hub: ./no, roles: {query: a}}]}\n", [], "data.sources.0.hub: there is no folder './no'"),
    (source("nowhere.jsonl"), [], "r.yaml:3: data.sources.0.path: no file matches 'nowhere.jsonl'"),
    (TRIPLETS, ["negatives.per_query=2"], "2 negatives per query, but triplets.tsv has 1 per row"),
    (
        "data: {sources: [{rows: [{query: a, positive: b, label: x}]}]}\ntrain: {batch_size: 1, steps: 1}\n",
        ["objective=label_anchors"],
        "objective: label_anchors contrasts the texts of labels, and rows makes none",
    ),
    (PAIR, ["views.count=3"], "views.count: no source has role text"),
    (PAIR, ["data.sources.0.streaming=true", "train.steps=2"], "a stream cannot know the positives of a query"),
    (
        SCORED,
        ["data.sources.0.streaming=true", "train.steps=2", "train.batch_size=1000", "objective=cosent"],
        "rows, less than one batch of 1000: a batch repeats its rows",
    ),
    (PAIR, ["objective.similarity=dot"], "dot products of unnormalised embeddings divided by 0.05 saturate"),
    (
        PAIR,
        ["objective={name: debiased, temperature: 0.05}"],
        "tau_plus 0.1 at temperature 0.05: negatives get no gradient",
    ),
    (PAIR, ["objective=cacr"], "with one positive its weight is 1"),
    (
        PAIR,
        ["objective=mochi", "train.batch_size=16"],
        "objective.hardest: mochi mixes the 32 hardest negatives, and a query of pairs.jsonl sees 15 in a pool of 16",
    ),
    (
        TRIPLETS,
        ["objective={name: mochi, hardest: 20}", "train.batch_size=16"],
        "and a query of triplets.tsv sees 31 in a pool of 16 examples",
    ),
    (
        TRIPLETS,
        ["objective={name: mochi, in_batch_negatives: false}"],
        "and a query of triplets.tsv sees 1 in a pool of 64 examples",
    ),
    (PAIR, ["train.objective_learning_rate=1e-3"], "the objective has no parameters of its own"),
    (SCORED, ["objective=cosent", "train.rows_per_block=4"], "not cut into blocks"),
    (PAIR, ["objective={name: swav, queue: 0}"], "300 prototypes are shared equally by 64 texts, less than two each"),
    (PAIR, ["train.optimizer=lion"], "lion moves every weight by all of the learning rate, and 2e-05 is usual for Ad"),
    (
        TEXT,
        ["objective={name: beclr, memory: 2000, clusters: 20}", "train.batch_size=50", "train.steps=40"],
        "objective.memory: beclr has neighbours after 40 updates, and the run has 40",
    ),
    (
        TEXT,
        ["objective={name: beclr, memory: 100, clusters: 1}", "train.batch_size=50", "train.steps=40"],
        "objective.clusters: one cluster is plain nearest neighbours",
    ),
    (
        source("labels.csv", "query: sentence, label: intent"),
        ["objective=sbcl", "train.steps=100"],
        "objective.every: sbcl makes subclasses after every 200 updates, and the run has 100",
    ),
    (PAIR, ["objective=vicreg", "model.normalize=true"], "far below the hinge of vicreg at 1"),
    (PAIR, ["eval.every=5"], "the run has 1 updates, so the model is evaluated after the last one alone"),
    (PAIR, ["eval.select=A/b"], "eval.select: chooses among evaluations during training, and there are none"),
    (PAIR, ["eval.suite=null"], "nothing is measured before and after training"),
    (PAIR, ["train.tokens_per_micro_batch=256"], "a text may have 512 tokens, more than the 256 of a micro-batch"),
    (PAIR, ["train.learning_rate=5e-3"], "0.005 is high for training all weights"),
    (PAIR, ["model.trust_remote_code=true"], "runs on this machine"),
    (PAIR, ["model.include_prompt_in_pooling=false", "model.pooling=cls"], "pooling cls takes one token"),
    (TEXT, ["model.prompts.document=d"], "views of unlabelled text are all queries"),
]


@pytest.mark.parametrize(("text", "overrides", "expected"), WARNED)
def test_warnings(make: Make, text: str, overrides: list[str], expected: str) -> None:
    suite = [] if "eval.suite=null" in overrides else ["eval.suite=sts"]
    made = make(text, *suite, *overrides, model_config=BERT)
    assert made.refusals == ()
    message = only(made.warnings)
    assert expected in message
    assert "\n  cure: " in message


def held(matching: float = 0.0, scores: tuple[float, float] | None = None) -> Contents:
    return Contents(100, matching, scores)


CONTENTS = [
    (PAIR, [], held(1.0), "pairs.jsonl share their query or positive so often that all in-batch negatives are masked"),
    (PAIR, [], held(0.6), "60% of the in-batch negatives"),
    (SCORED, ["objective=cosine_mse"], held(scores=(0, 5)), "those of scored.csv go from 0 to 5"),
]
"""What only the rows tell."""


@pytest.mark.parametrize(("text", "overrides", "contents", "expected"), CONTENTS)
def test_warnings_about_rows(make: Make, text: str, overrides: list[str], contents: Contents, expected: str) -> None:
    message = only(make(text, "eval.suite=sts", *overrides, model_config=BERT, contents=[contents]).warnings)
    assert expected in message and "\n  cure: " in message


@pytest.mark.parametrize(
    ("text", "overrides", "contents"),
    [
        (PAIR, [], held(0.3)),
        (SCORED, ["objective=cosine_mse"], held(scores=(-1, 1))),
        (SCORED, ["objective=cosent"], held(1.0, (0, 5))),
        (PAIR, ["objective=supcon", "objective.labels=false"], None),
        (PAIR, ["objective=mochi"], None),
        (PAIR, ["objective={name: mochi, hardest: 14}", "train.batch_size=16"], None),
    ],
)
def test_rows_that_are_as_they_should_be(make: Make, text: str, overrides: list[str], contents: Contents) -> None:
    assert make(text, "eval.suite=sts", *overrides, model_config=BERT, contents=[contents]).warnings == ()


def test_a_look_at_rows() -> None:
    rows = [("a", ("x", "x"), (0.5,)), ("a", ("y",), (2.0,)), ("b", ("x",), ()), ("c", ("z",), ())]
    found = look(iter(rows))
    assert (found.rows, found.scores) == (4, (0.5, 2.0))
    assert found.matching == pytest.approx(2 / 12)
    assert look(iter([("a", ("b",), ())])).matching == 0 and look(iter([])).scores is None
    assert look((f"{i}", ("same",), ()) for i in range(50)).matching == 1


def test_what_is_not_installed_is_refused(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules_machine, "_installed", lambda module: False)
    asked = (("train.report_to=[wandb]", "wandb needs wandb"), ("train.report_to=[dagshub]", "dagshub needs dagshub"))
    for override, what in (*asked, ("train.optimizer=stable_adamw", "pip install torch-optimi")):
        assert what in only(make(PAIR, override).refusals)
    monkeypatch.setattr(rules_machine, "_installed", lambda module: True)
    for override in ("train.report_to=[wandb, none]", "train.optimizer=adamw_8bit"):
        assert make(PAIR, override).refusals == ()


def test_a_device_that_is_not_there(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules_machine, "_torch_version", lambda: "2.13.0+cpu")
    assert "the installed torch 2.13.0+cpu has no CUDA" in only(
        make(PAIR, "train.device=cuda", "eval.suite=sts").warnings
    )
    for version, platform in (("2.13.0", "linux"), ("2.13.0", "darwin")):
        monkeypatch.setattr(rules_machine, "_torch_version", lambda v=version: v)
        monkeypatch.setattr(rules_machine.sys, "platform", platform)
        assert bool(make(PAIR, "train.device=cuda", "eval.suite=sts").warnings) == (platform == "darwin")


def test_optimisers_and_trackers_are_those_of_transformers() -> None:
    from transformers.integrations.integration_utils import INTEGRATION_TO_CALLBACK
    from transformers.training_args import OptimizerNames

    assert {name.value for name in OptimizerNames} <= set(rules_machine.OPTIMIZERS)
    assert set(INTEGRATION_TO_CALLBACK) <= set(rules_machine.TRACKERS)


def test_dropout_views_of_a_small_base_are_warned_of(make: Make) -> None:
    small = BERT | {"num_hidden_layers": 4, "hidden_size": 256, "intermediate_size": 1024, "vocab_size": 16000}

    def warned(config: dict[str, int], *overrides: str) -> bool:
        found = make(TEXT, *overrides, model_config=config).warnings
        return any("took a base of 7.4 M weights down" in problem.what for problem in found)

    assert warned(small) and warned(small, "objective=macl")
    assert not warned(BERT)
    for other in ("views.transforms=[[shuffle],[]]", "auxiliary=[mlm]", "objective=contrastive_tension"):
        assert not warned(small, other), other
    assert not any("took a base" in p.what for p in make(PAIR, model_config=small).warnings)


def test_every_rule_fires_somewhere(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    fired: set[str] = set()

    def watch(found: list[rules.Rule], context: Any) -> list[Any]:
        fired.update(rule.__name__ for rule in found if list(rule(context)))
        return []

    monkeypatch.setattr(rules, "apply", watch)
    for text, overrides, contents, _ in CONTENTS:
        make(text, *overrides, contents=[contents])
    for text, overrides, _ in [*REFUSED, *WARNED]:
        make(text, *overrides, model_config=BERT, processes=2 if "train.device=mps" in overrides else 1)
    alone = {
        "batch_divides",
        "backend_is_supported",
        "peft_is_there",
        "selection_exists",
        "device_is_there",
        "small_bases_fall",
        *(
            "adapters_are_merged_first",
            "stored_prompts_are_used",
            "similarity_is_trained",
            "evaluation_fits",
            "companions_see_all_processes",
        ),
        *(rule.__name__ for rule in (*rules_reranker.REFUSALS, *rules_reranker.WARNINGS)),
        *(rule.__name__ for rule in (*rules_lexical.REFUSALS, *rules_lexical.WARNINGS)),
        *(rule.__name__ for rule in (*rules_rationale.REFUSALS, *rules_rationale.WARNINGS)),
    }  # tested by themselves
    assert {rule.__name__ for rule in [*rules.REFUSALS, *rules.WARNINGS]} == fired | alone


def test_a_recipe_is_planned_without_torch(write: Write) -> None:
    write("a sentence\n" * 300, "text.txt")
    code = (
        "import sys; from embedkit.recipe.load import load; from embedkit.recipe.plan import plan\n"
        "made = plan(load(sys.argv[1]).recipe); print(len(made.lines()))\n"
        "heavy = {'torch', 'transformers', 'sentence_transformers', 'datasets', 'numpy', 'pandas'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code, str(write(TEXT))], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_graded_pairs_are_not_mined_for() -> None:
    recipe = Recipe.model_validate({"data": {"sources": [{"path": "p.jsonl"}]}, "mining": {}})
    roles = ("query", "positive", "score")
    assert is_mined(recipe, roles, InfoNCE()) and not is_mined(recipe, roles, CoSENT())
    assert is_mined(recipe, (*roles, "negative"), MarginMSE()) and not is_mined(recipe, ("text",), InfoNCE())
