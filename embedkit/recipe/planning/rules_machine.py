"""Rules about the machine: trackers, optimisers and devices that a run would ask for and not find."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import sys
from collections.abc import Iterator

from embedkit.recipe.planning.context import Context, problem
from embedkit.recipe.reading.fields import nearest
from embedkit.recipe.reading.problems import Problem

TRACKERS = {
    "azure_ml": ("azureml",),
    "clearml": ("clearml",),
    "codecarbon": ("codecarbon",),
    "comet_ml": ("comet_ml",),
    "dagshub": ("dagshub", "mlflow"),
    "dvclive": ("dvclive",),
    "flyte": ("flytekit",),
    "kubeflow": ("kubeflow",),
    "mlflow": ("mlflow",),
    "neptune": ("neptune",),
    "swanlab": ("swanlab",),
    "tensorboard": ("tensorboard",),
    "trackio": ("trackio",),
    "wandb": ("wandb",),
}
"""What transformers reports to, and the modules that it needs."""

_PACKAGES = {
    "bitsandbytes": "adamw_bnb_8bit adamw_8bit ademamix ademamix_8bit lion_8bit lion_32bit paged_adamw_32bit "
    "paged_adamw_8bit paged_ademamix_32bit paged_ademamix_8bit paged_lion_32bit paged_lion_8bit rmsprop_bnb "
    "rmsprop_bnb_8bit rmsprop_bnb_32bit",
    "torchao": "adamw_torch_4bit adamw_torch_8bit",
    "torch_xla": "adamw_torch_xla",
    "torch_npu": "adamw_torch_npu_fused",
    "torchdistx": "adamw_anyprecision",
    "galore_torch": "galore_adamw galore_adamw_8bit galore_adafactor galore_adamw_layerwise "
    "galore_adamw_8bit_layerwise galore_adafactor_layerwise",
    "apollo_torch": "apollo_adamw apollo_adamw_layerwise",
    "lomo_optim": "lomo adalomo",
    "grokadamw": "grokadamw",
    "schedulefree": "schedule_free_radam schedule_free_adamw schedule_free_sgd",
    "optimi": "stable_adamw",
}
OPTIMIZERS = {name: module for module, names in _PACKAGES.items() for name in names.split()} | dict.fromkeys(
    ("adamw_torch", "adamw_torch_fused", "adafactor", "sgd", "adagrad", "rmsprop", "lion"), ""
)
"""The optimisers of transformers and Lion, and the module that each needs beside torch."""
_PIP = {
    "optimi": "torch-optimi",
    "galore_torch": "galore-torch",
    "apollo_torch": "apollo-torch",
    "lomo_optim": "lomo-optim",
}


def trackers_are_there(c: Context) -> Iterator[Problem]:
    for index, name in enumerate(c.recipe.train.report_to):
        path = ("train", "report_to", index)
        if name in ("none", "all"):
            continue
        if name not in TRACKERS:
            yield problem(path, f"no tracker called {name!r}", f"known: {', '.join(TRACKERS)}")
            continue
        missing = [module for module in TRACKERS[name] if not _installed(module)]
        if missing:
            yield problem(path, f"{name} needs {missing[0]}, which is not installed", f"pip install {missing[0]}")


def optimizer_is_there(c: Context) -> Iterator[Problem]:
    name, path = c.recipe.train.optimizer, ("train", "optimizer")
    if name not in OPTIMIZERS:
        near = nearest(name, list(OPTIMIZERS))
        hint = f"did you mean {near!r}? " if near else ""
        yield problem(path, f"no optimiser called {name!r}", f"{hint}known: {', '.join(sorted(OPTIMIZERS))}")
    elif OPTIMIZERS[name] and not _installed(OPTIMIZERS[name]):
        module = OPTIMIZERS[name]
        what = f"{name} needs {module}, which is not installed"
        yield problem(path, what, f"pip install {_PIP.get(module, module)}, or use adamw_torch_fused")


def device_is_there(c: Context) -> Iterator[Problem]:
    """What can be known without loading torch. A warning: the plan may be read on another machine."""
    device = c.recipe.train.device
    if device == "mps" and sys.platform != "darwin":
        yield problem(("train", "device"), "mps is for Apple's machines", "use auto, cuda or cpu")
    if device == "cuda" and (sys.platform == "darwin" or _torch_version().endswith("+cpu")):
        what = f"the installed torch {_torch_version()} has no CUDA"
        yield problem(("train", "device"), what, "install a CUDA build of torch, or use auto")


def flash_attention_is_served(c: Context) -> Iterator[Problem]:
    """Its kernels take half precision, on CUDA."""
    attention, train = c.recipe.model.attention, c.recipe.train
    if attention != "flash_attention_2":
        return
    if train.device in ("cpu", "mps"):
        what = f"{attention} runs on CUDA, and train.device is {train.device}"
        yield problem(("model", "attention"), what, "use sdpa, or leave model.attention out")
    if train.precision == "fp32":
        what = f"{attention} computes in half precision, and train.precision is fp32"
        yield problem(("model", "attention"), what, "set train.precision: bf16, or use sdpa")


def _installed(module: str) -> bool:
    return importlib.util.find_spec(module) is not None


def _torch_version() -> str:
    try:
        return importlib.metadata.version("torch")
    except importlib.metadata.PackageNotFoundError:
        return ""


REFUSALS = [trackers_are_there, optimizer_is_there, flash_attention_is_served]
WARNINGS = [device_is_there]
