"""Rebuilding inputs: what a golden file describes in words must come out to the last bit, and nothing else may run."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from tests.conformance.__main__ import DEFAULT
from tests.conformance.entries import Entry, read_folder
from tests.conformance.expressions import Calculator, ExpressionError, UnknownName, pieces, products, run
from tests.conformance.inputs import InputError, NotImplementedYet, rebuild


@pytest.fixture(scope="module")
def entries() -> dict[str, Entry]:
    return {entry.id: entry for entry in read_folder(DEFAULT)}


def made(schema: str, inputs: dict[str, Any], *, setting: str = "", **hyper: Any) -> Entry:
    return Entry(schema, "made.json", "made", "made", inputs, hyper, (), setting=setting)


def test_the_inputs_of_every_entry_can_be_rebuilt(entries: dict[str, Entry]) -> None:
    """That of a sentence entry also means that its `input_fro` was met; gradients are known of every leaf."""
    for entry in entries.values():
        assert entry.gradients() <= set(rebuild(entry).raw), entry.id


def test_two_views_are_drawn_from_one_generator() -> None:
    inputs = rebuild(made("objectives", {"seed": 5, "draws": [["A", [2, 3]], ["E", [2, 3]]], "B": "A+0.3*E"}))
    rng = np.random.default_rng(5)
    a, e = rng.standard_normal((2, 3)), rng.standard_normal((2, 3))
    assert torch.equal(inputs["A"], torch.from_numpy(a)) and torch.equal(inputs["B"], torch.from_numpy(a + 0.3 * e))


def test_stacked_views_repeats_and_separate_seeds() -> None:
    spec = {"seed": 1, "draws": [["A", [2, 3]], ["E", [4, 2, 3]]], "views": "V[k]=A+0.5*E[k]"}
    inputs = rebuild(made("objectives", spec))
    assert torch.equal(inputs["V"][3], inputs["A"] + 0.5 * inputs["E"][3])
    text = "repeat(A,K,axis=0)+0.5*E (row i*K+k = translation k of item i)"
    inputs = rebuild(made("objectives", {"seed": 1, "draws": [["A", [2, 3]], ["E", [6, 3]]], "B": text}))
    assert torch.equal(inputs["B"], inputs["A"].repeat_interleave(3, 0) + 0.5 * inputs["E"])
    queue = {"seed": 7, "shape": [5, 3], "normalised": True}
    inputs = rebuild(made("objectives", {"seed": 1, "draws": [["A", [2, 3]]], "queue": queue}))
    raw = torch.from_numpy(np.random.default_rng(7).standard_normal((5, 3)))
    assert torch.allclose(inputs["queue"], raw / raw.norm(dim=1, keepdim=True), rtol=1e-15)


def test_generator_calls_are_made_in_their_order() -> None:
    order = [
        "A=standard_normal(N,d)",
        "y=integers(0,C,N)",
        "u=random((N,s1)); b=0.5*u",
        "p=permutation(N)",
        "l=beta(2,2)",
    ]
    entry = made("objectives", {"seed": 3, "d": 2, "generator_order": order}, setting="N=4,C=3", s=5)
    inputs, rng = rebuild(entry), np.random.default_rng(3)
    wanted = [rng.standard_normal((4, 2)), rng.integers(0, 3, 4), 0.5 * rng.random((4, 5)), rng.permutation(4)]
    for name, array in zip("Aybp", wanted, strict=True):
        assert np.array_equal(inputs[name].numpy(), array), name
    assert float(inputs["l"]) == rng.beta(2, 2)


def test_values_given_beside_the_draws_must_agree(entries: dict[str, Entry]) -> None:
    entry = next(e for e in entries.values() if e.name == "conr")
    wrong = {**entry.inputs, "P": [0.0, *entry.inputs["P"][1:]]}
    with pytest.raises(InputError, match="P differs"):
        rebuild(made("objectives", wrong))
    spec = {"seed": 1, "N": 3, "D": 2, "recipe": "a=g.sn(N,D)", "input_fro": [1.0]}
    with pytest.raises(InputError, match="input_fro"):
        rebuild(made("sentence", spec))


def test_normalised_inputs_keep_their_raw_leaf() -> None:
    q = {"seed": 1, "shape": [2, 3], "normalize": True, "grad": True}
    p = {**q, "seed": 2, "compose": "q + 0.5 * standard_normal(seed), before normalisation"}
    inputs = rebuild(made("retrieval", {"q": q, "p": p}))
    raw = np.random.default_rng(1).standard_normal((2, 3)) + 0.5 * np.random.default_rng(2).standard_normal((2, 3))
    assert np.array_equal(inputs.raw["p"].detach().numpy(), raw) and inputs.raw["p"].is_leaf
    assert torch.allclose(inputs["p"].norm(dim=1), torch.ones(2, dtype=torch.float64))
    inputs["p"].sum().backward()
    assert inputs.raw["q"].grad is None and inputs.raw["p"].grad is not None


@pytest.mark.parametrize("compose", ["q * p", "q + 0.5 * uniform(seed)", "__import__('os') + standard_normal(seed)"])
def test_an_unknown_composition_is_said(compose: str) -> None:
    q = {"seed": 1, "shape": [2, 3]}
    with pytest.raises(NotImplementedYet, match="not understood"):
        rebuild(made("retrieval", {"q": q, "p": {**q, "compose": compose}}))


def test_a_recipe_in_mathematical_shorthand() -> None:
    text = (
        "g=default_rng(seed); x=g.sn(2N,D) (row order: view-major), m=g.random((N,2))<0.5, m[~m]=1; "
        "perms=[g.permutation(D) for 2 views in order]; rows [0:N] view1; N=3 D=4; y=2x[0,0]"
    )
    script = run(text, 9, {})
    rng = np.random.default_rng(9)
    assert np.array_equal(script.names["x"], rng.standard_normal((6, 4)))
    rng.random((3, 2))
    assert script.names["m"].all() and script.names["y"] == 2 * script.names["x"][0, 0]
    assert np.array_equal(script.names["perms"], [rng.permutation(4), rng.permutation(4)])
    assert script.remarks == ("rows [0:N] view1",)
    assert list(script.names)[:2] == ["N", "D"]


def test_a_default_shape_for_bare_draws() -> None:
    script = run("a=g.sn; b=a+1.5*g.sn (all (N,D)); columns = a,b", 4, {"N": 2, "D": 3})
    rng = np.random.default_rng(4)
    a = rng.standard_normal((2, 3))
    assert np.array_equal(script.names["b"], a + 1.5 * rng.standard_normal((2, 3)))


@pytest.mark.parametrize("text", ["a=g.sn(N,D) squared", "a=g.uniform(3)", "a=g.sn(M)", "draw twice from g.sn(3)"])
def test_a_draw_that_is_not_understood_is_an_error(text: str) -> None:
    """It would shift every later draw."""
    with pytest.raises(ExpressionError, match="cannot run"):
        run(text, 1, {"N": 2, "D": 3})


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').system('true')",
        "a.__class__",
        "(lambda: 1)()",
        "open",
        "'text'",
        "a if a else a",
        "[x for x in a]",
        "unit(a, out=a)",
        "a and a",
        "f'{a}'",
        "a // 2",
        "0 < a < 1",
    ],
)
def test_nothing_else_can_be_evaluated(text: str) -> None:
    with pytest.raises(ExpressionError):
        Calculator({"a": np.ones(2)}).value(text)


def test_arithmetic() -> None:
    calculator = Calculator({"a": np.array([[3.0, 4.0]]), "N": 2})
    assert calculator.value("-2*N+N**3/4") == -2
    assert calculator.value("a[0,1:]").tolist() == [4.0]
    assert calculator.value("unit(a)").tolist() == [[0.6, 0.8]]
    assert calculator.value("repeat(a,N,axis=0)").shape == (2, 2)
    with pytest.raises(UnknownName, match="'b'"):
        calculator.value("a+b")
    with pytest.raises(ExpressionError, match="cannot assign"):
        calculator.assign("a+N", 1)


def test_shorthand_products() -> None:
    assert products("g.sn(2N,D)/sqrt(2D)+0.5CE+W1+1e-5*x+3E") == "g.sn(2*N,D)/sqrt(2*D)+0.5*CE+W1+1e-5*x+3*E"


def test_pieces() -> None:
    assert pieces("then guide: a=1; b=f(a, c=2), d=3 e=4 (e is new)") == ["a=1", "b=f(a, c=2)", "d=3", "e=4"]
