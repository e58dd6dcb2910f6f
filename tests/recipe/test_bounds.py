"""Recipes that are made to cost memory or time, or that ask for what nothing can hold: refused, with the place."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from embedkit.errors import RecipeError
from embedkit.foreign import limits
from embedkit.recipe.load import load_recipe, load_suite_file
from embedkit.recipe.reading import composing
from embedkit.recipe.reading.tree import parse
from tests.recipe.conftest import DATA, Write

Refused = Callable[..., str]


@pytest.fixture
def refused(write: Write) -> Refused:
    def refuse(text: str, *overrides: str) -> str:
        start = time.perf_counter()
        with pytest.raises(RecipeError) as caught:
            load_recipe(write(text), overrides)
        assert time.perf_counter() - start < 30  # each would take minutes, or all memory, without its bound
        message = str(caught.value)
        assert len(message) < 2000 + 200 * limits.SHOWN_PROBLEMS
        return message

    return refuse


def repeated(levels: int, times: int, inner: str = "x") -> str:
    """Each anchor holds the one before `times` times."""
    lines = [f"a0: &a0 [{', '.join([inner] * times)}]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * times)}]" for i in range(1, levels)]
    return "\n".join(lines) + "\n"


def test_anchors_that_multiply(refused: Refused) -> None:
    message = refused(repeated(9, 9))
    assert message.startswith("r.yaml:1: with repeated anchors 490,")
    assert "more than 100,000" in message


def test_anchors_that_multiply_in_mappings_and_texts(refused: Refused) -> None:
    lines = ["a0: &a0 {k: x}"] + [f"a{i}: &a{i} {{k: *a{i - 1}, l: *a{i - 1}}}" for i in range(1, 30)]
    assert "with repeated anchors" in refused("\n".join(lines) + "\n")
    assert "characters" in refused(repeated(2, 100, inner="x" * 1000))


def test_anchors_that_nest(refused: Refused) -> None:
    lines = ["a0: &a0 [x]"] + [f"a{i}: &a{i} [*a{i - 1}]" for i in range(1, 300)]
    assert "repeated anchors nest it 301 levels deep, more than 100" in refused("\n".join(lines) + "\n")


def test_anchors_within_the_bounds_are_what_they_stand_for() -> None:
    assert parse("a: &a [1, {b: 2}]\nc: *a\nd: {e: *a}\n", "r.yaml").plain() == {
        "a": [1, {"b": 2}],
        "c": [1, {"b": 2}],
        "d": {"e": [1, {"b": 2}]},
    }
    assert len(parse(repeated(4, 9), "r.yaml").plain()["a3"]) == 9


@pytest.mark.parametrize(
    "value",
    [
        "[" * 20_000,
        "[" * 20_000 + "]" * 20_000,
        "{a: " * 20_000 + "}" * 20_000,
        "\n  " + "- " * 20_000,
        "\n  " + "? " * 20_000,
    ],
    ids=["open", "lists", "mappings", "block", "keys"],
)
def test_nesting_has_a_bound(refused: Refused, value: str) -> None:
    line = 3 if value.startswith("\n") else 2
    assert refused(f"{DATA}x: {value}\n").startswith(f"r.yaml:{line}: lists and mappings more than 100 levels deep")


def test_nesting_within_the_bound_is_read() -> None:
    found = parse("x: " + "[" * 99 + "]" * 99, "r.yaml").plain()["x"]
    for _ in range(98):
        (found,) = found
    assert found == []


@pytest.mark.parametrize("value", ["[" * 20_000, "[" * 20_000 + "]" * 20_000, "{a: " * 20_000 + "}" * 20_000])
def test_nesting_in_overrides_has_a_bound(refused: Refused, value: str) -> None:
    message = refused(DATA, f"train.seed={value}")
    assert message.startswith("override train.seed=") and "lists and mappings more than 100 levels deep" in message
    assert len(message) < 500


def test_keys_of_overrides_have_a_bound(refused: Refused) -> None:
    assert "a key of more than 100 parts" in refused(DATA, ".".join("a" * 20_000) + "=1")
    assert "'99999999999' is not one of its indices" in refused(DATA, "data.sources.99999999999.path=x")


def test_a_recipe_is_no_data_file(refused: Refused, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(composing, "NODES", 500)
    assert "r.yaml:2: more than 500 values" in refused(f"{DATA}x: [{', '.join(['1'] * 1001)}]\n")
    assert "larger than 4,194,304 bytes" in refused(f"{DATA}# {'x' * 2**22}\n")


def test_thousands_of_wrong_keys_are_told_of_in_part(refused: Refused) -> None:
    message = refused(DATA + "".join(f"k{i}: 1\n" for i in range(3_000)))
    assert message.startswith("3000 problems, the first 50\nr.yaml:2: k0: unknown key")
    assert message.count("unknown key") == limits.SHOWN_PROBLEMS


def test_suites_have_the_same_bounds(tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    for text, what in (
        (repeated(9, 9), "with repeated anchors"),
        ("tasks: " + "[" * 20_000, "100 levels"),
        (f"tasks: [{{type: sts, name: {'n' * 5000}, files: [f]}}]", "tasks.0.name: must have at most 1,000 characters"),
    ):
        path.write_text(text)
        with pytest.raises(RecipeError, match=what):
            load_suite_file(path)


@pytest.mark.parametrize("number", ["9" * 1_000_000, "-" + "9" * 5000, "0x" + "f" * 5000, "1." + "0" * 5000 + "e3"])
def test_numbers_without_end(refused: Refused, number: str) -> None:
    message = refused(f"{DATA}train: {{seed: {number}}}\n")
    assert message.startswith("r.yaml:2: a number of more than 400 digits")
    assert "a number of more than 400 digits" in refused(DATA, f"train.seed={number[:100_000]}")


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("train.seed", 2**32, "must be <= 4294967295, got 4294967296"),
        ("train.seed", 10**23, "must be <= 4294967295"),
        ("train.seed", -1, "must be >= 0"),
        ("data.sources.0.debias", f"{{seed: {2**32}}}", "seed: must be <= 4294967295"),
        ("train.steps", 2**53, "a whole number beyond 9007199254740991"),
        ("train.log_every", 10**30, "a whole number beyond"),
        ("train.batch_size", 10**7 + 1, "must be <= 10000000, got 10000001"),
        ("model.head", "{dim: 65537}", "must be <= 65536"),
        ("model.lora", "{r: 1000000000}", "must be <= 65536"),
        ("heads", "[{name: mlp, dim: 10000000000}]", "must be <= 65536"),
        ("train.epochs", ".inf", "train.epochs: expected a number, got inf"),
        ("train.epochs", ".nan", "train.epochs: expected a number, got nan"),
        ("train.epochs", "1e400", "train.epochs: expected a number, got inf"),
        ("train.epochs", "1e13", "a number beyond 1e+12"),
        ("train.max_grad_norm", "1e300", "a number beyond 1e+12"),
        ("objective", "{name: cosent, scale: .inf}", "objective.scale: expected a number, got inf"),
        ("objective", "{name: matryoshka, objective: infonce, dims: [8, 100000000000000000000]}", "a whole number"),
    ],
)
def test_numbers_beyond_what_follows_can_hold(refused: Refused, key: str, value: object, expected: str) -> None:
    message = refused(DATA, f"{key}={value}")
    assert message.startswith(f"override {key}=") and expected in message
    assert "cure: " in message


def test_the_largest_seed_is_taken(write: Write) -> None:
    assert load_recipe(write(DATA), [f"train.seed={2**32 - 1}"]).train.seed == 4294967295


LONG = "n" * 5000


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"extends: {LONG}\n{DATA}", "r.yaml:1: extends: no such recipe 'nnn"),
        (f"{DATA}model: {{base: {LONG}}}\n", "r.yaml:2: model.base: must have at most 1,000 characters, got 5,000"),
        (f"data: {{sources: [{{path: {LONG}}}]}}\n", "data.sources.0.path: must have at most 1,000 characters"),
        (f"data: {{sources: [{{hub: {LONG}}}]}}\n", "data.sources.0.hub: must have at most 1,000 characters"),
        (f"data: {{sources: [{{path: x, name: {LONG}}}]}}\n", "data.sources.0.name: must have at most 1,000"),
        (f"data: {{sources: [{{path: x, roles: {{query: {LONG}}}}}]}}\n", "roles.query: must have at most 1,000"),
        (f"{DATA}eval: {{suite: {LONG}}}\n", "eval.suite: must have at most 1,000 characters"),
        (f"{DATA}objective: {LONG}\n", "unknown objective 'nnn"),
        (f"{DATA}x: !{LONG} 1\n", "tag !nnn"),
        (f"{DATA}x: *{LONG}\n", "not valid YAML: found undefined alias"),
        (f"{DATA}? {LONG}\n: 1\n", "n...: unknown key"),
        (f"{DATA}plugins: [{LONG}]\n", "plugins.0: must have at most 1,000 characters"),
    ],
)
def test_names_of_thousands_of_characters(refused: Refused, text: str, expected: str) -> None:
    message = refused(text)
    assert expected in message
    assert len(message) < 1000


def test_a_recipe_named_by_thousands_of_characters() -> None:
    for name in (LONG, f"{LONG}.yaml", f"a/{LONG}/b", "a\0b"):
        with pytest.raises(RecipeError, match="no such recipe") as caught:
            load_recipe(name)
        assert len(str(caught.value)) < 500


def test_prompts_may_be_long(write: Write) -> None:
    text = "x" * 5000
    recipe = load_recipe(write(f"{DATA}model: {{prompts: {{query: {text}}}}}\n"))
    assert recipe.model.prompts.query == text


@pytest.mark.parametrize(
    ("key", "cure"),
    [
        ("data.on_bad_row=skip", "did you mean `data.sources.0.on_bad_row`?"),
        ("data.encoding=latin-1", "did you mean `data.sources.0.encoding`?"),
        ("data.name=mine", "did you mean `data.sources.0.name`?"),
        ("data.path=mine.jsonl", "did you mean `data.sources.0.path`?"),
        ("on_bad_row=skip", "did you mean `data.sources.0.on_bad_row`?"),
        ("encoding=latin-1", "did you mean `data.sources.0.encoding`?"),
        ("train.on_bad_row=skip", "did you mean `data.sources.0.on_bad_row`?"),
    ],
)
def test_keys_of_a_source_are_led_to_the_source(refused: Refused, write: Write, key: str, cure: str) -> None:
    message = refused(DATA, key)
    assert "unknown key" in message and cure in message
    place, value = cure.split("`")[1], key.partition("=")[2]
    source = load_recipe(write(DATA), [f"{place}={value}"]).data.sources[0]
    assert getattr(source, place.rpartition(".")[2]) == value


@pytest.mark.parametrize("encoding", ["latn-1", "", "rot13", "base64", "utf-8\0"])
def test_an_encoding_that_is_none_is_refused_when_the_recipe_is_read(refused: Refused, encoding: str) -> None:
    message = refused(DATA, f'data.sources.0.encoding="{encoding.encode("unicode_escape").decode()}"')
    assert "data.sources.0.encoding: unknown encoding" in message
    assert "e.g. utf-8, latin-1, cp1252, utf-16" in message
