"""What a right recipe means: YAML 1.2 values, extends, overrides, plug-ins, places, dump and hash."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from embedkit.errors import RecipeError
from embedkit.recipe import registry
from embedkit.recipe.load import base_dir_of, dump, find_recipe, list_recipes, load, load_recipe, recipe_hash
from embedkit.recipe.objectives.contrastive import InfoNCE
from embedkit.recipe.objectives.scored import CoSENT
from embedkit.recipe.reading import find
from embedkit.recipe.reading.dump import LATER
from embedkit.recipe.schema import Data, Recipe, Source
from embedkit.recipe.suite import Suite
from tests.recipe.conftest import DATA, Write


def test_yaml_1_2_values(write: Write) -> None:
    recipe = load_recipe(
        write(
            f"""
            {DATA}
            train: {{learning_rate: 1e-5, epochs: 2, seed: 012, tokens_per_micro_batch: 0x400}}
            model: {{base: off, revision: 1:30, prompts: {{query: "yes", document: 2020-01-01}}}}
            """
        )
    )
    assert recipe.train.learning_rate == 1e-5
    assert (recipe.train.epochs, recipe.train.seed, recipe.train.tokens_per_micro_batch) == (2.0, 12, 1024)
    assert (recipe.model.base, recipe.model.revision) == ("off", "1:30")
    assert (recipe.model.prompts.query, recipe.model.prompts.document) == ("yes", "2020-01-01")


def test_named_blocks_by_name_alone_and_by_the_default(write: Write) -> None:
    assert load_recipe(write(f"{DATA}objective: cosent\n")).objective == CoSENT()
    assert load_recipe(write(f"{DATA}objective: {{temperature: 0.1}}\n")).objective == InfoNCE(temperature=0.1)
    assert load_recipe(write(DATA)).objective == InfoNCE()


def test_a_byte_order_mark_is_no_key(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(DATA, encoding="utf-8-sig")
    assert load_recipe(path).data.sources[0].path == "pairs.jsonl"


class TestExtends:
    def test_mappings_merge_deeply_and_lists_replace(self, write: Write) -> None:
        write(
            """
            data: {sources: [{path: a.jsonl}, {path: b.jsonl}]}
            train: {seed: 1, batch_size: 8}
            objective: {name: infonce, temperature: 0.1, directions: [q-d, d-q]}
            """,
            "base.yaml",
        )
        write("extends: base.yaml\ntrain: {seed: 2}\n", "middle.yaml")
        path = write("extends: middle.yaml\ndata: {sources: [{path: c.jsonl}]}\nobjective: {temperature: 0.2}\n")
        recipe = load_recipe(path)
        assert (recipe.train.seed, recipe.train.batch_size) == (2, 8)
        assert [s.path for s in recipe.data.sources] == ["c.jsonl"]
        assert recipe.objective == InfoNCE(temperature=0.2, directions=("q-d", "d-q"))

    @pytest.mark.parametrize("below", ["{name: infonce, temperature: 0.1}", "infonce"])
    @pytest.mark.parametrize("above", ["{name: cosent, scale: 5}", "cosent"])
    def test_another_objective_replaces_the_options_of_the_first(self, write: Write, below: str, above: str) -> None:
        write(f"{DATA}objective: {below}\n", "base.yaml")
        recipe = load_recipe(write(f"extends: base.yaml\nobjective: {above}\n"))
        assert recipe.objective == CoSENT(scale=5.0 if "scale" in above else 20.0)

    def test_options_are_merged_into_a_bare_name(self, write: Write) -> None:
        write(f"{DATA}objective: cosent\n", "base.yaml")
        assert load_recipe(write("extends: base.yaml\nobjective: {scale: 3}\n")).objective == CoSENT(scale=3.0)

    def test_errors_point_to_the_file_that_says_it(self, write: Write) -> None:
        write(f"# c\n{DATA}train:\n  sed: 1\n", "sub/base.yaml")
        path = write("extends: sub/base.yaml\ntrain:\n  bach_size: 2\n")
        with pytest.raises(RecipeError) as caught:
            load_recipe(path)
        assert f"{Path('sub/base.yaml')}:4: train.sed: unknown key" in str(caught.value)
        assert "r.yaml:3: train.bach_size: unknown key" in str(caught.value)

    def test_circles_are_refused(self, write: Write) -> None:
        write("extends: r.yaml\n", "b.yaml")
        with pytest.raises(RecipeError, match=r"(?s)^b.yaml:1: .*circle: r.yaml -> b.yaml -> r.yaml"):
            load_recipe(write("extends: b.yaml\n"))
        with pytest.raises(RecipeError, match=r"circle: me.yaml -> me.yaml"):
            load_recipe(write("extends: me.yaml\n", "me.yaml"))

    def test_a_missing_base_names_its_line(self, write: Write) -> None:
        with pytest.raises(RecipeError, match=r"^r.yaml:2: extends: no such recipe 'nope'"):
            load_recipe(write("# c\nextends: nope\n"))
        with pytest.raises(RecipeError, match=r"^r.yaml:1: extends: expected text, got \[1\]"):
            load_recipe(write("extends: [1]\n"))

    def test_paths_of_a_base_in_another_folder_still_hold(self, write: Write) -> None:
        write("{}", "lib/here.jsonl")
        base = "data: {sources: [{path: here.jsonl}, {path: '*.jsonl'}, {path: elsewhere.jsonl}, {hub: x}]}\n"
        write(base, "lib/base.yaml")
        recipe = load_recipe(write("extends: ../lib/base.yaml\n", "mine/r.yaml"))
        assert [s.path for s in recipe.data.sources] == ["../lib/here.jsonl", "../lib/*.jsonl", "elsewhere.jsonl", None]

    def test_a_shipped_recipe_can_be_extended(self, write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
        write(f"{DATA}train: {{seed: 9}}\n", "shipped/unsup/x.yaml")
        monkeypatch.setattr(find, "shipped_folder", lambda: Path("shipped").resolve())
        assert load_recipe(write("extends: unsup/x\n")).train.seed == 9


class TestOverrides:
    def test_a_name_that_chooses_nothing_is_a_value_like_any_other(self, write: Write) -> None:
        """Another `name` of an objective replaces its options; another name of a source or a suite renames it."""
        suite = "eval: {suite: {name: s, tasks: [{type: sts, name: a, files: [x.tsv]}]}}\n"
        base = f"data: {{sources: [{{path: a.jsonl, name: one}}]}}\n{suite}"
        write(base, "base.yaml")
        overrides = ["data.sources.0.name=two", "eval.suite.name=t", "eval.suite.tasks.0.name=b"]
        extended = write("extends: base.yaml\neval: {suite: {name: u}}\n", "above.yaml")
        for recipe, suite_name in ((load_recipe(write(base), overrides), "t"), (load_recipe(extended), "u")):
            assert recipe.data.sources[0].path == "a.jsonl"
            assert isinstance(recipe.eval.suite, Suite) and recipe.eval.suite.name == suite_name
            assert len(recipe.eval.suite.tasks) == 1
        nested = (
            "objective: {name: sum, terms: [{objective: {name: infonce, temperature: 0.1}}, {objective: cosent}]}\n"
        )
        assert load_recipe(write(DATA + nested), ["objective.terms.0.objective.name=cosent"])

    def test_values_are_yaml_1_2(self, write: Write) -> None:
        recipe = load_recipe(
            write(DATA),
            [
                "train.learning_rate=1e-4",
                "train.steps=null",
                "eval.before=false",
                "model.freeze=[embeddings, 'layers:0-3']",
                "model.prompts.query=search query: ",
                'model.prompts.document="2"',
                "model.lora={r: 4}",
                "objective.temperature=0.2",
                "data.sources.0.path=x=y #1.jsonl",
                "data.sources.0.roles.negative=[a, b]",
                "data.sources.1.hub=owner/name",
            ],
        )
        assert recipe.train.learning_rate == 1e-4
        assert recipe.train.steps is None
        assert recipe.eval.before is False
        assert recipe.model.freeze == ("embeddings", "layers:0-3")
        assert (recipe.model.prompts.query, recipe.model.prompts.document) == ("search query: ", "2")
        assert recipe.model.lora is not None
        assert recipe.model.lora.r == 4
        assert recipe.objective == InfoNCE(temperature=0.2)
        assert recipe.data.sources[0].path == "x=y #1.jsonl"
        assert recipe.data.sources[0].roles == {"negative": ("a", "b")}
        assert recipe.data.sources[1].hub == "owner/name"

    def test_the_last_one_wins_and_a_new_name_drops_old_options(self, write: Write) -> None:
        path = write(f"{DATA}objective: {{name: infonce, temperature: 0.1}}\n")
        assert load_recipe(path, ["train.seed=1", "train.seed=2"]).train.seed == 2
        assert load_recipe(path, ["objective.name=cosent"]).objective == CoSENT()
        assert load_recipe(path, ["objective=cosent", "objective.scale=3"]).objective == CoSENT(scale=3.0)

    def test_a_recipe_can_be_all_overrides_but_its_file(self, write: Write) -> None:
        assert load_recipe(write("train: {seed: 1}\n"), ["data.sources.0.path=x"]).data.sources[0].path == "x"

    @pytest.mark.parametrize(
        ("override", "expected"),
        [
            ("train.batch_sise=8", ["train.batch_sise: unknown key", "did you mean `batch_size`?"]),
            ("trian.seed=8", ["trian: unknown key", "did you mean `train`?"]),
            ("train.batch_size=many", ["train.batch_size: expected a whole number, got 'many'"]),
            ("train.batch_size=0", ["train.batch_size: must be >= 1, got 0"]),
            ("train.seed.x=0", ["train.seed is 7, which has no keys", "set train.seed itself"]),
            ("data.sources.3.path=x", ["data.sources is a list of 1; 3 is not one of its indices", "use 0 to 0, or 1"]),
            ("data.sources.first.path=x", ["data.sources is a list of 1; 'first' is not one of its indices"]),
            ("train.seed", ["not of the form key=value", "train.batch_size=64"]),
            ("=3", ["not of the form key=value"]),
            ("model.freeze=[a", ["not a YAML value", "close the quotes or brackets"]),
            ("model.lora={r: 1, r: 2}", ["key `r` is given twice"]),
            ("objective.name=cosnt", ["unknown objective 'cosnt'", "did you mean 'cosent'?"]),
            ("extends=other", ["extends: unknown key"]),
        ],
    )
    def test_mistakes_name_the_override(self, write: Write, override: str, expected: list[str]) -> None:
        with pytest.raises(RecipeError) as caught:
            load_recipe(write(f"{DATA}train: {{seed: 7}}\n"), [override])
        assert str(caught.value).startswith(f"override {override}: ")
        for part in expected:
            assert part in str(caught.value)

    @settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
    @given(
        key=st.one_of(
            st.sampled_from(["train.seed", "model.base", "data.sources.0", "data.sources.0.roles.query", "objective"]),
            st.text(st.sampled_from("train.sedmolba01"), max_size=12),
        ),
        value=st.text(st.sampled_from("ab01.-:{}[]'\",#&*!|>%@ \n"), max_size=12),
    )
    def test_any_override_gives_a_recipe_or_a_recipe_error(self, tmp_path: Path, key: str, value: str) -> None:
        path = tmp_path / "r.yaml"
        path.write_text(DATA, encoding="utf-8")
        try:
            recipe = load_recipe(path, [f"{key}={value}"])
        except RecipeError as error:
            assert error.what
        else:
            assert isinstance(recipe, Recipe)


class TestPlugins:
    def test_a_module_beside_the_recipe_registers_an_objective(self, write: Write) -> None:
        write(
            """
            from pydantic import Field
            from embedkit.recipe.objectives.base import ObjectiveConfig
            from embedkit.recipe.registry import register

            class Config(ObjectiveConfig):
                name: str = "test_plugin_loss"
                strength: float = Field(1.0, gt=0, description="How strong.")

            @register("objective", "test_plugin_loss", config=Config)
            class Loss: ...
            """,
            "my_test_losses.py",
        )
        path = write(f"plugins: [my_test_losses]\n{DATA}objective: {{name: test_plugin_loss, strength: 2}}\n")
        try:
            recipe = load_recipe(path)
            assert recipe.objective.model_dump() == {"name": "test_plugin_loss", "strength": 2.0}
            assert load_recipe(write(dump(recipe), "again.yaml")) == recipe
            with pytest.raises(RecipeError, match=r"objective.strngth: unknown key\n  cure: did you mean `strength`"):
                load_recipe(path, ["objective.strngth=1"])
        finally:
            registry._PLUGINS.pop(("objective", "test_plugin_loss"), None)

    def test_a_plugin_that_fails_is_a_recipe_error(self, write: Write) -> None:
        with pytest.raises(RecipeError, match=r"^r.yaml:2: plugins: importing 'no_such_module_x' failed: Module"):
            load_recipe(write(f"plugins:\n  - no_such_module_x\n{DATA}"))
        write("raise ValueError('broken inside')", "broken_plugin_x.py")
        with pytest.raises(RecipeError, match="ValueError: broken inside"):
            load_recipe(write(f"plugins: [broken_plugin_x]\n{DATA}"))

    @pytest.mark.parametrize("code", ["import sys; sys.exit(0)", "1 +", "raise SystemExit", "import no_such_module_y"])
    def test_whatever_ends_an_import_is_a_recipe_error(self, write: Write, code: str) -> None:
        name = f"ending_plugin_{abs(hash(code))}"
        write(code, f"{name}.py")
        with pytest.raises(RecipeError, match=rf"^r.yaml:1: plugins: importing '{name}' failed: [A-Z]\w+"):
            load_recipe(write(f"plugins: [{name}]\n{DATA}"))

    @pytest.mark.parametrize("name", ["", ".x", "a b", "a-b", "a..b", "../x", "x.py\x1b"])
    def test_what_is_no_name_of_a_module(self, write: Write, name: str) -> None:
        with pytest.raises(RecipeError, match=r"^r.yaml:1: plugins: .* is not the name of a Python module"):
            load_recipe(write(f"plugins: [{json.dumps(name)}]\n{DATA}"))

    @pytest.mark.parametrize(
        ("wrong", "expected"),
        [
            ("train: {batch_sise: 3}", "batch_sise: unknown key"),
            ("train: {batch_size: many}", "batch_size"),
            ("objective: {name: of_a_plugin}\ntrain: {seed: -1}", "seed"),
            ("objective: {name: infonce, temprature: 1}", "temprature: unknown key"),
        ],
    )
    def test_nothing_runs_for_a_recipe_that_is_wrong_without_it(
        self, write: Write, tmp_path: Path, wrong: str, expected: str
    ) -> None:
        ran = tmp_path / "ran"
        name = f"early_plugin_{abs(hash(wrong))}"
        write(f"from pathlib import Path; Path({str(ran)!r}).touch()", f"{name}.py")
        with pytest.raises(RecipeError, match=expected) as error:
            load_recipe(write(f"plugins: [{name}]\n{DATA}{wrong}\n"))
        assert not ran.exists() and "of_a_plugin" not in str(error.value)
        with pytest.raises(RecipeError, match="unknown objective 'of_a_plugin'"):
            load_recipe(write(f"plugins: [{name}]\n{DATA}objective: {{name: of_a_plugin}}\n"))
        assert ran.exists(), "what a plugin may register is judged after it"

    def test_what_runs_is_said_before_it_runs(self, write: Write, caplog: pytest.LogCaptureFixture) -> None:
        write("import logging; logging.getLogger('plugin').warning('I run')", "loud_plugin.py")
        path = write(f"plugins: [loud_plugin]\n{DATA}")
        load_recipe(path)
        said = [record.getMessage() for record in caplog.records]
        assert len(said) == 2 and said[1] == "I run"
        assert re.fullmatch(r"r\.yaml:1: plugins: running loud_plugin \(.*loud_plugin\.py\)", said[0])
        load_recipe(path)
        assert len(caplog.records) == 2, "it runs once"

    def test_installed_plugins_are_found_by_their_entry_point(
        self, write: Write, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        write("[embedkit.plugins]\nx = installed_test_losses\n", "site/x-1.0.dist-info/entry_points.txt")
        write("Metadata-Version: 2.1\nName: x\nVersion: 1.0\n", "site/x-1.0.dist-info/METADATA")
        write(
            """
            from embedkit.recipe.objectives.base import ObjectiveConfig
            from embedkit.recipe.registry import register

            class Config(ObjectiveConfig):
                name: str = "installed_test_loss"

            @register("objective", "installed_test_loss", config=Config)
            class Loss: ...
            """,
            "site/installed_test_losses.py",
        )
        monkeypatch.syspath_prepend(str(Path("site").resolve()))
        registry._import_installed_plugins.cache_clear()
        try:
            recipe = load_recipe(write(f"{DATA}objective: installed_test_loss\n"))
            assert recipe.objective.name == "installed_test_loss"
        finally:
            registry._PLUGINS.pop(("objective", "installed_test_loss"), None)


class TestFind:
    def test_names_paths_and_nearest(self, write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
        shipped = write(DATA, "shipped/unsup/simcse.yaml")
        write("# ===\n# SimCSE, unsupervised\n# more\n" + DATA, "shipped/sup/simcse.yaml")
        monkeypatch.setattr(find, "shipped_folder", lambda: Path("shipped").resolve())
        assert find_recipe("unsup/simcse") == shipped.resolve()
        assert [find.recipe_name(p) for p in list_recipes()] == ["sup/simcse", "unsup/simcse"]
        assert [find.headline(p) for p in list_recipes()] == ["SimCSE, unsupervised", ""]
        assert base_dir_of("unsup/simcse") == Path("shipped/unsup").resolve()
        local = write(DATA, "unsup/simcse")
        assert find_recipe("unsup/simcse") == local
        for wrong, near in (
            ("unsup/simsce", "unsup/simcse"),
            ("simcse", "sup/simcse"),
            ("sup/simcse.yml2", "sup/simcse"),
        ):
            with pytest.raises(RecipeError, match=f"(?s)^{wrong}: no such recipe.*did you mean '{near}'"):
                find_recipe(wrong)
        with pytest.raises(RecipeError, match="is a folder"):
            find_recipe("shipped")

    def test_the_wheels_folder_comes_first(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        package = tmp_path / "site" / "embedkit"
        package.mkdir(parents=True)
        monkeypatch.setattr(find, "_PACKAGE", package)
        assert find.shipped_folder() == tmp_path / "site" / "recipes"
        (package / "_recipes").mkdir()
        assert find.shipped_folder() == package / "_recipes"


def test_places_of_keys(write: Write) -> None:
    write(f"{DATA}train:\n  seed: 3\n", "base.yaml")
    loaded = load(write("extends: base.yaml\nmodel:\n  base: x\n"), ["eval.every=5"])
    assert loaded.where(("train", "seed")) == "base.yaml:3"
    assert loaded.where(("train", "epochs")) == "base.yaml:2"
    assert loaded.where(("model", "base")) == "r.yaml:3"
    assert loaded.where(("eval", "every")) == "override eval.every=5"
    assert base_dir_of(loaded.path) == Path.cwd()


class TestDump:
    def test_every_default_is_explicit(self, write: Write) -> None:
        import io

        from ruamel.yaml import YAML

        recipe = load_recipe(write(DATA))
        data: dict[str, Any] = YAML(typ="safe").load(io.StringIO(dump(recipe)))

        def same(block: Any, value: Any, path: tuple[str, ...] = ()) -> None:
            if hasattr(type(block), "model_fields"):
                names = type(block).model_fields
                fields = [k for k in names if (*path, k) not in LATER or getattr(block, k) is not None]
                assert list(value) == fields
                for key in value:
                    same(getattr(block, key), value[key], (*path, key))
            elif isinstance(block, tuple):
                for one, item in zip(block, value, strict=True):
                    same(one, item, path)

        same(recipe, data)

    def test_it_loads_back_equal_with_an_equal_hash(self, write: Write) -> None:
        text = f"""
            {DATA}
            model: {{prompts: {{query: "find: "}}, lora: {{target_modules: [a, b]}}, freeze: [embeddings]}}
            objective: {{name: sum, terms: [{{objective: cosent}}, {{weight: 2, objective: {{name: matryoshka,
              objective: {{temperature: 1e-2, name: infonce}}, dims: [8, 4]}}}}]}}
            weighting: [{{name: focal}}]
            eval: {{suite: {{tasks: [{{type: sts, name: a, files: [x.tsv]}}]}}, every: 3}}
            """
        recipe = load_recipe(write(text))
        again = load_recipe(write(dump(recipe), "again.yaml"))
        assert again == recipe
        assert recipe_hash(again) == recipe_hash(recipe)
        assert dump(again) == dump(recipe)

    @settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
    @given(
        text=st.text(max_size=20),
        value=st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=12)),
    )
    def test_any_text_and_number_survives(self, tmp_path: Path, text: str, value: object) -> None:
        source = Source(rows=({"query": text, "positive": value, "more": [value, [text], {"x": value}]},))
        recipe = Recipe(data=Data(sources=(source,)), model={"base": text, "prompts": {"query": text}})
        path = tmp_path / "r.yaml"
        path.write_text(dump(recipe), encoding="utf-8", newline="")
        assert load_recipe(path) == recipe

    def test_what_yaml_cannot_hold_is_refused(self) -> None:
        recipe = Recipe(data=Data(sources=(Source(rows=({"query": object()},)),)))
        with pytest.raises(RecipeError, match=r"data.sources.0.rows.0.query: object has no form in YAML"):
            dump(recipe)


class TestHash:
    def test_it_ignores_order_spelling_and_defaults(self, write: Write) -> None:
        one = load_recipe(write(f"{DATA}train: {{seed: 42, batch_size: 8}}\nobjective: infonce\n"))
        two = load_recipe(write(f"objective: {{name: infonce, temperature: 5e-2}}\ntrain: {{batch_size: 8}}\n{DATA}"))
        assert recipe_hash(one) == recipe_hash(two)
        assert len(recipe_hash(one)) == 16

    def test_a_default_that_became_the_devices_choice_has_the_hash_of_the_number_it_was(self, write: Write) -> None:
        given, left, other = (
            recipe_hash(load_recipe(write(f"{DATA}train: {{batch_size: 8{more}}}\n")))
            for more in (", tokens_per_micro_batch: 2048", "", ", tokens_per_micro_batch: 1024")
        )
        assert given == left != other

    @pytest.mark.parametrize(
        "override",
        ["train.seed=43", "train.learning_rate=2.0000001e-5", "model.base=x", "objective=cosent", "plugins=[json]",
         "data.sources.0.roles.query=q", "weighting=[{name: focal}]", "eval.before=false"],
    )  # fmt: skip
    def test_any_change_changes_it(self, write: Write, override: str) -> None:
        path = write(DATA)
        assert recipe_hash(load_recipe(path, [override])) != recipe_hash(load_recipe(path))

    def test_it_is_the_same_in_another_process(self, write: Write) -> None:
        path = write(f"{DATA}objective: {{name: matryoshka, dims: [8], objective: infonce}}\n")
        code = "import sys; from embedkit.recipe.load import *; print(recipe_hash(load_recipe(sys.argv[1])))"
        environ = {"PYTHONHASHSEED": "7", "PATH": ""}
        out = subprocess.run(
            [sys.executable, "-c", code, str(path)], capture_output=True, text=True, env=environ, check=True
        )
        assert out.stdout.strip() == recipe_hash(load_recipe(path))
