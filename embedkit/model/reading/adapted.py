"""Reading a folder that holds adapters (peft's format) in place of weights: the base model with adapters put in."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from sentence_transformers.base.modules import Transformer

from embedkit.disk.model_files import damaged, read_json
from embedkit.errors import RecipeError
from embedkit.foreign.quoting import listed
from embedkit.model.changing.lora import NAME, PREFIX, peft_works
from embedkit.model.reading.resolve import Origin, resolve

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

CONFIG = "adapter_config.json"
WHERE = "model.base"
ASKED = ("subfolder", "revision", "token", "cache_dir", "local_files_only")
"""Of sentence-transformers' loading options, those that say where the adapters are."""


class AdaptedTransformer(Transformer):
    """sentence-transformers' `Transformer`, its adapters read through peft alone.

    An instance becomes a plain `Transformer` (`plain`), so that a saved folder names no class of this package.
    """

    def _load_config(self, model_name_or_path: str, backend: str, config_kwargs: dict[str, Any]) -> Any:
        from transformers import AutoConfig

        with peft_works("reading adapters", WHERE) as peft:
            _check_kind(peft, model_name_or_path, config_kwargs)
            self._adapters = peft.PeftConfig.from_pretrained(model_name_or_path, **_asked(config_kwargs))
        self._base = _base_of(self._adapters, model_name_or_path)
        return AutoConfig.from_pretrained(self._base.target, **_of_base(config_kwargs, self._base)), True

    def _load_model(
        self, model_name_or_path: str, task: Any, config: Any, backend: str, *_: Any, **options: Any
    ) -> Any:
        base = _of_base(options, self._base)
        backbone: Any = super()._load_model(self._base.target, task, config, backend, False, **base)
        with peft_works("reading adapters", WHERE) as peft:
            self._adapters.inference_mode = True
            _check_targets(self._adapters, backbone, model_name_or_path)
            peft.inject_adapter_in_model(self._adapters, backbone, NAME)
            found = peft.utils.load_peft_weights(model_name_or_path, device="cpu", **_asked(options))
            wanted = peft.get_peft_model_state_dict(backbone, adapter_name=NAME, save_embedding_layers=False)
            fitting = _renamed(found, wanted, backbone.base_model_prefix, model_name_or_path)
            peft.set_peft_model_state_dict(backbone, fitting, adapter_name=NAME)
        backbone.requires_grad_(False).eval()
        backbone._hf_peft_config_loaded = True
        return backbone

    def plain(self) -> None:
        del self._adapters, self._base
        self.__class__ = Transformer


def _check_kind(peft: Any, folder: str, options: dict[str, Any]) -> None:
    """Refuse a kind of adapters that the installed peft does not have."""
    from transformers.utils import cached_file

    path = Path(cached_file(folder, CONFIG, **_asked(options)))
    kind = read_json(path, dict).get("peft_type")
    known = [member.value for member in peft.PeftType]
    if kind not in known:
        raise damaged(path, f"peft_type: {kind!r:.80} is none of {listed(sorted(known))}")


def _check_targets(adapters: Any, backbone: Any, folder: str) -> None:
    """Refuse adapters of modules that the model has not."""
    targets, names = adapters.target_modules, [name for name, _ in backbone.named_modules()]
    if isinstance(targets, str) or not targets:  # a pattern, or peft's own choice for the architecture
        return
    if not any(name == target or name.endswith(f".{target}") for name in names for target in targets):
        what = f"the adapters in {folder} are for modules that the model has not: {listed(sorted(targets))}"
        raise RecipeError(what, WHERE, "give the base model and the adapters that belong together")


def _asked(options: dict[str, Any]) -> dict[str, Any]:
    found = {key: options[key] for key in ASKED if options.get(key) is not None}
    return {key: value for key, value in found.items() if (key, value) != ("subfolder", "")}


def _of_base(options: dict[str, Any], base: Origin) -> dict[str, Any]:
    """Options that say where the adapters are, made to say where their base model is."""
    kept = {key: value for key, value in options.items() if key != "subfolder"}
    return {**kept, "revision": base.revision, "local_files_only": base.kind != "hub"}


def _base_of(adapters: Any, folder: str) -> Origin:
    name = adapters.base_model_name_or_path
    if not name:
        raise RecipeError(f"{CONFIG} of {folder} names no base model", WHERE, "set base_model_name_or_path in it")
    try:
        return resolve(name, adapters.revision)
    except RecipeError as error:
        what = f"the adapters in {folder} need the model they were trained on: {error.what}"
        raise RecipeError(what, WHERE, error.cure) from error


def _renamed(found: dict[str, Any], wanted: dict[str, Any], prefix: str, folder: str) -> dict[str, Any]:
    """The adapters under the backbone's names; those of a model with a head have one part more.

    Raises:
        RecipeError: adapters are missing, are left over, or have another shape.
    """
    bare = {name.removeprefix(PREFIX): value for name, value in found.items()}
    headed = {name.removeprefix(f"{prefix}."): value for name, value in bare.items()}
    own = max(
        bare, headed, {f"{prefix}.{name}": v for name, v in bare.items()}, key=lambda names: len(names & wanted.keys())
    )
    missing, extra = wanted.keys() - own.keys(), own.keys() - wanted.keys()
    shaped = [name for name in wanted.keys() & own.keys() if own[name].shape != wanted[name].shape]
    for problem, names in (
        ("are missing", missing),
        ("fit nothing in the model", extra),
        ("have another shape", shaped),
    ):
        if names:
            what = f"{len(names)} of {len(wanted)} adapters in {folder} {problem}, first {min(names)}"
            raise RecipeError(what, WHERE, "give the base model and the adapters that belong together")
    return own


def load_bare(target: str, options: dict[str, Any]) -> SentenceTransformer:
    """Adapters without sentence-transformers' files: pooled as it does, by the mean or a causal model's last token."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling

    shared = {key: options[key] for key in ("trust_remote_code", "revision", "local_files_only")}
    transformer = AdaptedTransformer(
        target,
        cache_dir=options["cache_folder"],
        model_kwargs={**shared, **options["model_kwargs"]},
        processor_kwargs=dict(shared),
        config_kwargs=dict(shared),
    )
    config = transformer.config
    causal = (config.architectures or [""])[0].endswith("ForCausalLM") and getattr(config, "is_causal", True)
    pooling = Pooling(transformer.get_embedding_dimension(), "lasttoken" if causal else "mean")
    return SentenceTransformer(
        modules=[transformer, pooling], device=options["device"], trust_remote_code=options["trust_remote_code"]
    )
