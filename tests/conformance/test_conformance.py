"""The golden values themselves, and that the harness notices what it must notice."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from embedkit.recipe.reading.catalogue import GOLDEN
from tests.conformance import report, runner
from tests.conformance.__main__ import DEFAULT, main
from tests.conformance.entries import Entry, Gradient, Quantity, read_folder
from tests.conformance.inputs import NotImplementedYet, Options
from tests.conformance.left_out import LEFT_OUT
from tests.conformance.runner import Outcome, judge

CONFORMING = {"objectives": 154, "retrieval": 126, "sentence": 35}
"""How many entries of tests/golden conform: raise it with every method, so that none falls back unnoticed."""


@pytest.fixture(scope="module")
def outcomes() -> list[Outcome]:
    return runner.run(read_folder(DEFAULT))


@pytest.fixture
def golden(tmp_path: Path) -> Callable[..., Path]:
    """Writes a folder with one file that holds the entries of tests/golden called `ids`, changed by `change`."""

    def write(file: str, *ids: str, change: Callable[[dict[str, Any]], None] = lambda entry: None) -> Path:
        entries = [e for e in json.loads((DEFAULT / file).read_text())["entries"] if e["id"] in ids]
        assert len(entries) == len(ids)
        for entry in entries:
            change(entry)
        (tmp_path / file).write_text(json.dumps({"meta": {}, "entries": entries}))
        return tmp_path

    return write


def entry(outcomes: list[Outcome], name: str) -> Entry:
    return next(o.entry for o in outcomes if o.entry.id == name)


def test_no_value_differs(outcomes: list[Outcome]) -> None:
    assert [(o.entry.id, o.reason) for o in outcomes if o.verdict == "FAILED"] == []


def test_no_entry_falls_back_to_not_implemented(outcomes: list[Outcome]) -> None:
    for schema, least in CONFORMING.items():
        assert sum(o.verdict == "conforms" for o in outcomes if o.entry.schema == schema) >= least, schema


def test_what_the_command_line_says_of_it_is_up_to_date(outcomes: list[Outcome]) -> None:
    """Renew it with ``python -m tests.conformance --status``."""
    assert json.loads(GOLDEN.read_text()) == report.status(outcomes)


def test_every_entry_of_every_file_is_judged(outcomes: list[Outcome]) -> None:
    written = [e["id"] for path in sorted(DEFAULT.glob("*.json")) for e in json.loads(path.read_text())["entries"]]
    assert [o.entry.id for o in outcomes] == written
    assert all(o.reason for o in outcomes if o.verdict != "conforms")


def test_conforming_means_losses_and_gradients(outcomes: list[Outcome]) -> None:
    for outcome in outcomes:
        if outcome.verdict == "conforms":
            compared = {c.path for c in outcome.comparisons}
            assert {q.path for q in outcome.entry.quantities if q.required} <= compared, outcome.entry.id
            assert any("grad" in path for path in compared) or not outcome.entry.gradients(), outcome.entry.id
            assert outcome.worst is not None and outcome.worst.error <= outcome.rtol


def test_what_is_left_out_is_there_and_has_no_adapter(outcomes: list[Outcome]) -> None:
    reasons = {o.entry.name: o.reason for o in outcomes if o.entry.name in LEFT_OUT}
    assert reasons == LEFT_OUT


def test_every_adapter_stands_for_an_entry(outcomes: list[Outcome]) -> None:
    for schema, name, function in runner._ADAPTERS:
        used = [o for o in outcomes if o.entry.schema == schema and name.fullmatch(o.entry.name)]
        assert any(o.verdict == "conforms" for o in used), f"{function.__name__} for {name.pattern}"


@pytest.mark.parametrize(
    ("file", "name", "keys"),
    [
        ("objectives.json", "004:nt_xent:near,tau=0.1", ("loss",)),
        ("objectives.json", "004:nt_xent:near,tau=0.1", ("grad_norm", "B")),
        ("objectives.json", "004:nt_xent:near,tau=0.1", ("grad_first", "A")),
        ("objectives.json", "275:cosent:indep,scale=20", ("extra", "angle_repo_value")),
        ("retrieval.json", "qwen3_infonce_2", ("result", "grad_norm_raw", "x")),
        ("retrieval.json", "qwen3_infonce_2", ("result", "grad_row_norms_fed", "x", 5)),
        ("retrieval.json", "flagembedding_infonce_crossdevice_0", ("result", "per_rank", 1, "grad_norm_p_local")),
        ("sentence.json", "simcse_sup_2", ("outputs", "grad", "c", "sum")),
        ("sentence.json", "simcse_sup_2", ("outputs", "grad", "a", "first3", 2)),
    ],
)
def test_a_changed_expectation_fails(
    golden: Callable[..., Path], capsys: pytest.CaptureFixture[str], file: str, name: str, keys: tuple[Any, ...]
) -> None:
    def change(raw: dict[str, Any]) -> None:
        *outer, last = keys
        place: Any = raw
        for key in outer:
            place = place[key]
        place[last] *= 1 + 1e-6

    assert main([str(golden(file, name))]) == 0
    assert main([str(golden(file, name, change=change))]) == 1
    assert "0 conform, 1 failed, 0 not implemented yet, of 1 entries" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("file", "name", "block", "key", "value"),
    [
        ("objectives.json", "290:infonce_oneway:indep,tau=0.05", "hyper", "label_smoothing", 0.1),
        ("objectives.json", "290:infonce_oneway:indep,tau=0.05", "inputs", "labels", [0, 1, 0, 1, 0, 1, 0, 1]),
        ("retrieval.json", "kalm_matryoshka_0", "hyperparameters", "margin", 0.1),
        ("retrieval.json", "st_mnrl_symmetric_0", "inputs", "n", {"seed": 3, "shape": [4, 8]}),
        ("sentence.json", "simcse_unsup_0", "hyper", "mlm_weight", 0.1),
        ("sentence.json", "simcse_unsup_0", "inputs", "extra", "then mask=g.random((N,2,3))<0.3"),
    ],
)
def test_what_an_adapter_does_not_use_is_never_ignored(
    golden: Callable[..., Path],
    capsys: pytest.CaptureFixture[str],
    file: str,
    name: str,
    block: str,
    key: str,
    value: Any,
) -> None:
    folder = golden(file, name, change=lambda raw: raw[block].update({key: value}))
    assert main([str(folder), "--verbose"]) == 0
    out = capsys.readouterr().out
    assert f"{name}: the adapter does not use" in out and key in out
    assert "0 conform, 0 failed, 1 not implemented yet" in out


def test_a_value_that_embedkit_does_not_know_is_not_implemented(outcomes: list[Outcome]) -> None:
    case = entry(outcomes, "006:moco_infonce:indep,tau=0.2,K=12")
    outcome = judge(replace(case, hyper={**case.hyper, "keys_detached": False}))
    assert (outcome.verdict, outcome.reason) == ("not implemented yet", "hyper-parameter keys_detached = False")
    refused = judge(replace(case, hyper={**case.hyper, "temperature": -1.0}))
    assert refused.verdict == "not implemented yet" and "embedkit refuses" in refused.reason


def test_an_unknown_method_is_counted(golden: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    folder = golden("sentence.json", "vne_0", "simcse_unsup_0", change=lambda e: e.update(method=f"new {e['method']}"))
    assert main([str(folder)]) == 0
    out = capsys.readouterr().out
    assert "new SimCSE unsup" in out
    assert out.splitlines()[-1] == "conformance: 0 conform, 0 failed, 2 not implemented yet, of 2 entries"


def test_wrong_draws_fail(golden: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    folder = golden("sentence.json", "simcse_unsup_0", change=lambda raw: raw["inputs"].update(seed=1))
    assert main([str(folder)]) == 1
    assert "input_fro" in capsys.readouterr().out


def test_the_ids_do_not_matter(golden: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    ids = ["infcl_symmetric_0", "arctic_mrl_infonce_2", "kalm_focal_corr_detach_True"]
    folder = golden("retrieval.json", *ids, change=lambda raw: raw.update(id="x"))
    assert main([str(folder)]) == 0
    assert "3 conform, 0 failed" in capsys.readouterr().out


def test_the_folder_comes_from_the_environment(
    golden: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("EMBEDKIT_GOLDEN", str(golden("sentence.json", "simcse_unsup_0")))
    assert main([]) == 0
    assert "1 conform, 0 failed, 0 not implemented yet, of 1 entries" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"entries": [{"id": "a", "loss_name": "x"}]}', "unknown schema: the first entry has id, loss_name"),
        ("[1, 2]", "unknown schema: expected an object with a list of entries"),
        ('{"entries": []}', "unknown schema"),
        ("{", "cannot be read as JSON"),
        ('{"entries": [{"method": "m", "inputs": {}, "hyper": {}, "outputs": {}}]}', "entry 0 does not follow"),
    ],
)
def test_an_unreadable_file_is_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str, message: str
) -> None:
    (tmp_path / "new.json").write_text(content)
    assert main([str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert "new.json" in error and message in error


def test_an_empty_or_absent_folder_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path)]) == 2
    assert main([str(tmp_path / "nowhere")]) == 2
    assert "no *.json" in (error := capsys.readouterr().err) and "no such folder" in error


def test_json_holds_every_comparison(golden: Callable[..., Path], tmp_path: Path) -> None:
    file = tmp_path / "out" / "verdicts.json"
    file.parent.mkdir()

    def rename(raw: dict[str, Any]) -> None:
        raw["method"] = "unknown" if raw["id"] == "vne_0" else raw["method"]

    assert main([str(golden("sentence.json", "simcse_unsup_0", "vne_0", change=rename)), "--json", str(file)]) == 0
    written = json.loads(file.read_text())
    assert (written["conforming"], written["failed"], written["not_implemented"]) == (1, 0, 1)
    paths = [value["path"] for value in written["entries"][0]["values"]]
    assert paths[:3] == ["loss", "grad.a.norm", "grad.a.sum"] and len(paths) == 7


def test_single_precision_entries_have_their_own_tolerance(outcomes: list[Outcome]) -> None:
    """Run in float32, entries agree to 1e-4 and not to 1e-9: dtype reaches the computation."""
    for name in ("flagembedding_infonce_inbatch_corr_0.2", "simcse_sup_0"):
        outcome = judge(replace(entry(outcomes, name), dtype="float32"))
        assert (outcome.verdict, outcome.rtol) == ("conforms", 1e-4)
        assert outcome.worst is not None and outcome.worst.error > 1e-9


def test_an_exact_value_replaces_a_wrong_one(golden: Callable[..., Path]) -> None:
    """`extra.exact` beside another `loss` says that the reference's own loss is an error."""

    def leak(raw: dict[str, Any]) -> None:
        raw["loss"] += 0.25
        raw["grad_norm"]["A"] *= 2

    name = "026:dcl_mask_leak:near,tau=0.02"
    (outcome,) = runner.run(read_folder(golden("objectives.json", name, change=leak)))
    assert outcome.verdict == "conforms" and [c.path for c in outcome.comparisons] == ["extra.exact"]


def test_a_broken_adapter_fails_its_entry_only(outcomes: list[Outcome], monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(case: runner.Case) -> dict[str, Any]:
        raise ZeroDivisionError("by design")

    case = entry(outcomes, "simcse_unsup_0")
    monkeypatch.setattr(runner, "find", lambda entry: broken)
    assert (judge(case).verdict, judge(case).reason) == ("FAILED", "ZeroDivisionError: by design")


def test_a_loss_that_ignores_an_input_fails(outcomes: list[Outcome], monkeypatch: pytest.MonkeyPatch) -> None:
    """The right value with a gradient that is zero is not conforming."""
    case = entry(outcomes, "simcse_unsup_0")
    value = next(q.expected for q in case.quantities if q.path == "loss")

    def constant(run: runner.Case) -> dict[str, Any]:
        run.hyper.remark("temp")
        return {"loss": torch.tensor(value, dtype=torch.float64)}

    monkeypatch.setattr(runner, "find", lambda entry: constant)
    assert judge(case).verdict == "FAILED"
    assert "grad.a.norm" in judge(case).reason and "loss" not in judge(case).reason


def test_two_adapters_for_one_name_are_refused(outcomes: list[Outcome], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "_ADAPTERS", list(runner._ADAPTERS))
    runner.adapter("sentence", "SimCSE un.*")(lambda case: {})
    with pytest.raises(LookupError, match="several adapters"):
        runner.find(entry(outcomes, "simcse_unsup_0"))


def test_options_know_what_was_read() -> None:
    options = Options({"a": 1, "b": 2, "c": 3}, "hyper-parameter")
    assert options["a"] == 1
    options.remark("b")
    assert options.unused() == ["c"]
    assert options.only("c", 3, 4) == 3 and options.only("d", None, default=None) is None
    assert options.unused() == []
    with pytest.raises(NotImplementedYet, match="'e' is not in the entry"):
        options["e"]


@pytest.mark.parametrize(
    ("expected", "ours", "scale", "error"),
    [
        (2.0, 2.002, None, 1e-3),
        (1e-9, 2e-9, None, 1e-6),  # below the floor, against the floor
        (0.0, 1e-9, 10.0, 1e-10),  # a sum that cancels, against its norm
        ([1.0, 10.0], [1.001, 10.0], None, 1e-4),  # a list, against its largest element
        ([1.0, 2.0], [1.0], None, float("inf")),
        (1.0, float("nan"), None, float("inf")),
        (True, True, None, 0.0),
        (True, 1.5, None, float("inf")),
        (["a"], ["b"], None, float("inf")),
    ],
)
def test_the_error_is_relative(expected: Any, ours: Any, scale: float | None, error: float) -> None:
    quantity = Quantity("x", expected, scale=scale)
    assert runner.compare.error(quantity, ours) == pytest.approx(error)


def test_statistics_are_in_c_order() -> None:
    gradient = torch.tensor([[[3.0, 4.0], [1.0, 0.0]], [[0.0, 2.0], [0.0, 0.0]]])
    wanted = {"norm": 30**0.5, "sum": 10.0, "first": 3.0, "first3": [3.0, 4.0, 1.0], "row_norms": [5.0, 1.0, 2.0, 0.0]}
    for statistic, expected in wanted.items():
        assert runner.compare.statistic(gradient, Gradient("loss", "x", statistic)) == pytest.approx(expected)  # type: ignore[arg-type]


def test_the_harness_special_cases_no_id(outcomes: list[Outcome]) -> None:
    sources = {p: p.read_text() for p in Path(__file__).parent.rglob("*.py") if not p.name.startswith("test_")}
    ids = {o.entry.id for o in outcomes} - {o.entry.name for o in outcomes}
    assert [(p.name, i) for p, text in sources.items() for i in ids if i in text] == []


def test_the_golden_files_are_not_changed_by_a_run(outcomes: list[Outcome]) -> None:
    case = entry(outcomes, "simcse_unsup_mlp")
    before = copy.deepcopy(case.raw)
    judge(case)
    assert case.raw == before
