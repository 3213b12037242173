"""A model's configuration on a server that isn't ours: what of it settings name, and how they change it.

A configuration is Triton's ModelConfig in JSON form, as its HTTP endpoint gives it and its repository API
takes it. What settings don't name stays in it as it was.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Any

from harness.plain_text import quoted
from harness.schema.errors import InputError
from harness.schema.model import Model, ModelArtifact
from harness.schema.point import ServerSettings
from harness.schema.scenario import DEFAULTS
from harness.schema.served_model import ServedModel
from harness.schema.tensors import TensorSpec
from harness.triton.provider import provider_of
from harness.triton.repository import model_config, optimization

Config = dict[str, Any]

_SCHEDULERS = ("sequence_batching", "ensemble_scheduling")
"""Besides the dynamic batcher; a model has one."""


def with_settings(loaded: Mapping[str, Any], artifact: Model, settings: ServerSettings) -> Config:
    """`loaded`, with those settings that are given in place of its own.

    Raises InputError for a setting that such a model can't have.
    """
    config: Config = copy.deepcopy(dict(loaded))
    _check_backend(config, artifact, settings)
    if settings.max_batch is not None:
        _batch(config, settings.max_batch)
    _batching(config, artifact, settings)
    if settings.threads is not None:
        parameters = config.setdefault("parameters", {})
        parameters["intra_op_thread_count"] = {"string_value": str(settings.threads)}
    if settings.response_cache is not None:
        config["response_cache"] = {**config.get("response_cache", {}), "enable": settings.response_cache}
    _instances(config, settings)
    _gpu(config, artifact, settings)
    return config


def _check_backend(config: Mapping[str, Any], model: Model, settings: ServerSettings) -> None:
    """Of a backend that isn't ONNX Runtime nobody knows what its threads and providers are."""
    backend = config.get("backend") or config.get("platform") or "ensemble"
    if isinstance(model, ModelArtifact) or str(backend).startswith("onnxruntime"):
        return
    for key in ("threads", "provider", "cuda_graph"):
        if getattr(settings, key) is not None:
            raise InputError(
                f"server.{key} is of ONNX Runtime, and {model.name} is computed by "
                f"{quoted(str(backend), 60)}: leave {key} out"
            )


def _batching(config: Config, artifact: Model, settings: ServerSettings) -> None:
    """Of the dynamic batcher, which a model need not have where nothing is asked of it."""
    asked = {"queue_delay_us": settings.queue_delay_us, "preferred_batch": settings.preferred_batch}
    for key, value in asked.items():
        if value is None or not (value or "dynamic_batching" in config):
            continue
        for other in _SCHEDULERS:
            if other in config:
                raise InputError(
                    f"server.{key} is of the dynamic batcher, and {artifact.name} has {other} there: "
                    f"leave {key} out"
                )
        batching = config.setdefault("dynamic_batching", {})
        if key == "queue_delay_us":
            batching["max_queue_delay_microseconds"] = value
        else:
            batching["preferred_batch_size"] = [value] if value else []


def for_the_first_time(artifact: ModelArtifact, settings: ServerSettings) -> Config:
    """A configuration for a server that has none of the model: with our defaults where nothing is asked for,
    and on a GPU only where Triton there has one and nothing else is asked for."""
    complete = {key: value for key, value in DEFAULTS.items() if getattr(settings, key) is None}
    if settings.kind != "auto":
        return model_config(artifact, settings.model_copy(update=complete), gpu=False)
    plain = {"kind": "cpu", "gpus": None, "provider": None, "cuda_graph": None}
    config = model_config(artifact, settings.model_copy(update=complete | plain), gpu=False)
    config["instance_group"][0]["kind"] = "KIND_AUTO"
    return config


def effective(config: Mapping[str, Any]) -> dict[str, Any]:
    """What of a configuration settings can name, with Triton's defaults in the gaps."""
    groups = config.get("instance_group", [])
    batching = config.get("dynamic_batching", {})
    parameters = config.get("parameters", {})
    return {
        "max_batch_size": config.get("max_batch_size", 0),
        "instances": [(group.get("kind"), group.get("count", 1)) for group in groups],
        "gpus": [tuple(group.get("gpus", ())) for group in groups],
        "provider": provider_of(dict(config)),
        "queue_delay_us": int(batching.get("max_queue_delay_microseconds", 0)),
        "preferred_batch": _preferred(config),
        "threads": parameters.get("intra_op_thread_count", {}).get("string_value", "0"),
        "response_cache": bool(config.get("response_cache", {}).get("enable", False)),
    }


def _preferred(config: Mapping[str, Any]) -> list[int]:
    """Preferred batch sizes; what Triton fills in where none is given, the largest batch, is none."""
    sizes = list(config.get("dynamic_batching", {}).get("preferred_batch_size", []))
    return [] if sizes == [config.get("max_batch_size", 0)] else sizes


def same(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two configurations are the same in all that settings can name.

    Where one of them doesn't say which GPUs, the other has what Triton filled in.
    """
    left, right = effective(one), effective(other)
    gpus = zip(left.pop("gpus"), right.pop("gpus"), strict=False)
    return left == right and all(mine == theirs or not (mine and theirs) for mine, theirs in gpus)


def differences(loaded: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    """How `wanted` is another configuration than `loaded`, in words."""
    before, after = effective(loaded), effective(wanted)
    return ", ".join(
        f"{name.replace('_', ' ')} {_shown(before[name])} to {_shown(after[name])}"
        for name in before
        if before[name] != after[name]
    )


def in_words(config: Mapping[str, Any]) -> str:
    """A configuration as far as settings name it."""
    return ", ".join(f"{name.replace('_', ' ')} {_shown(value)}" for name, value in _told(config))


def _told(config: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in effective(config).items():
        if name not in ("gpus", "provider") and value not in (0, False, "0", []):
            yield name, value


def settings_of(config: Mapping[str, Any]) -> ServerSettings:
    """The configuration as settings. `instances` are those of all its groups and GPUs together."""
    groups = [group for group in config.get("instance_group", []) if not group.get("passive")]
    found = effective(config)
    provider, _ = found["provider"]
    threads = found["threads"]
    kind = {"KIND_CPU": "cpu", "KIND_GPU": "gpu"}.get(kind_of(config), "auto")
    gpus = sorted({gpu for group in groups for gpu in group.get("gpus", ())})
    cuda = config.get("optimization", {}).get("cuda", {})
    return ServerSettings.model_validate(
        {
            "max_batch": found["max_batch_size"],
            "queue_delay_us": found["queue_delay_us"],
            "preferred_batch": found["preferred_batch"][0] if len(found["preferred_batch"]) == 1 else None,
            "instances": sum(g.get("count", 1) * max(1, len(g.get("gpus", ()))) for g in groups) or 1,
            "threads": int(threads) if threads.isascii() and threads.isdigit() and len(threads) < 6 else None,
            "kind": kind,
            "response_cache": found["response_cache"],
            "gpus": tuple(gpus) or None,
            "provider": "tensorrt" if provider == "TensorrtExecutionProvider" else None,
            "cuda_graph": True if cuda.get("graphs") else None,
        }
    )


def computed_with(model: ServedModel, config: Mapping[str, Any]) -> tuple[str | None, dict[str, str] | None]:
    """ONNX Runtime's name for what computes it, and its options; None for another backend's model."""
    if not model.platform.startswith("onnxruntime"):
        return None, None
    provider, options = provider_of(dict(config))
    return provider, options if provider else None


def as_served(model: Model, settings: ServerSettings) -> ServerSettings:
    """The settings, with what a model that is served by itself has where they leave it open."""
    if isinstance(model, ModelArtifact):
        return settings
    own = settings_of(model.config)
    left_open = {key: getattr(own, key) for key, value in settings if value is None}
    return settings.model_copy(update=left_open)


def kind_of(config: Mapping[str, Any]) -> str:
    groups = config.get("instance_group") or [{}]
    return str(groups[0].get("kind", "KIND_AUTO"))


def check_tensors(config: Mapping[str, Any], artifact: ModelArtifact, where: str) -> None:
    """Raise InputError where what is loaded takes or gives other tensors than the model that is here."""
    batched = config.get("max_batch_size", 0) > 0
    listed = {kind: {t["name"]: t for t in config.get(kind, [])} for kind in ("input", "output")}
    for kind, ours in (("input", artifact.inputs), ("output", artifact.outputs)):
        for spec in ours:
            there = listed[kind].get(spec.name)
            if (
                there is None
                and kind == "output"
                and not listed[kind].keys().isdisjoint(o.name for o in ours)
            ):
                continue  # a configuration may leave some out
            if there is None:
                raise _another(artifact, where, f"no {kind} {spec.name!r} there")
            if there["data_type"] != f"TYPE_{spec.datatype}":
                raise _another(
                    artifact, where, f"{kind} {spec.name!r} is {quoted(there['data_type'], 40)} there, and "
                    f"{spec.datatype} here",
                )  # fmt: skip
            if not _fits(there["dims"], spec, batched=batched):
                raise _another(
                    artifact, where, f"{kind} {spec.name!r} is {there['dims'][:16]} there, and "
                    f"{list(spec.axes)} here",
                )  # fmt: skip
    missing = [
        name
        for name, tensor in listed["input"].items()
        if not tensor.get("optional") and name not in {spec.name for spec in artifact.inputs}
    ]
    if missing:
        raise _another(artifact, where, f"input {quoted(missing[0], 80)!r} is asked for there")


def _fits(dims: list[int], spec: TensorSpec, *, batched: bool) -> bool:
    ours = [axis if isinstance(axis, int) else -1 for axis in spec.axes]
    ours = ours[1:] if batched else ours
    if not ours and list(dims) == [1]:
        return True  # one number a row, for which Triton wants an axis
    pairs = zip(dims, ours, strict=False)
    return len(dims) == len(ours) and all(-1 in pair or pair[0] == pair[1] for pair in pairs)


def _another(artifact: ModelArtifact, where: str, how: str) -> InputError:
    return InputError(
        f"{where} serves another model as {artifact.name} than the one here: {how}; name the model file that "
        "is loaded there"
    )


def _batch(config: Config, max_batch: int) -> None:
    before, config["max_batch_size"] = config.get("max_batch_size", 0), max_batch
    if before == 0:
        for tensor in (*config.get("input", []), *config.get("output", [])):
            _take_batch_axis(tensor)
    batching = config.get("dynamic_batching", {})
    preferred = batching.get("preferred_batch_size", [])
    if preferred == [before]:  # Triton's own choice, made of the size that changes
        del batching["preferred_batch_size"]
    elif preferred:
        batching["preferred_batch_size"] = [size for size in preferred if size <= max_batch]


def _take_batch_axis(tensor: dict[str, Any]) -> None:
    """Where a model has a batch size, `dims` don't name it."""
    if tensor["dims"][:1] != [-1] or "reshape" in tensor:
        raise InputError(
            "server.max_batch can't be set for a model that is loaded without a batch axis (max_batch_size "
            "0): leave max_batch out"
        )
    tensor["dims"] = tensor["dims"][1:]
    if not tensor["dims"]:
        tensor |= {"dims": [1], "reshape": {"shape": []}}


def _instances(config: Config, settings: ServerSettings) -> None:
    groups = config.setdefault("instance_group", [{}])
    for group in groups:
        if settings.instances is not None:
            group["count"] = settings.instances
        kind = {"cpu": "KIND_CPU", "gpu": "KIND_GPU"}.get(settings.kind)
        if kind is not None and group.get("kind") != kind:
            group["kind"] = kind
            group.pop("gpus", None)
            group.pop("profile", None)
        if settings.gpus is not None:
            group["gpus"] = list(settings.gpus)


def _gpu(config: Config, artifact: Model, settings: ServerSettings) -> None:
    on_gpu = kind_of(config) == "KIND_GPU"
    for key, value in (
        ("gpus", settings.gpus),
        ("provider", settings.provider),
        ("cuda_graph", settings.cuda_graph),
    ):
        if value and not on_gpu:
            raise InputError(
                f"server.{key} is for a model on a GPU, and {artifact.name} is not on one there: leave {key} "
                "out, or give kind: gpu"
            )
    if not on_gpu or (settings.provider is None and settings.cuda_graph is None):
        return
    kept = config.setdefault("optimization", {})
    if settings.provider is not None:
        accelerators = kept.setdefault("execution_accelerators", {})
        accelerators.pop("gpu_execution_accelerator", None)
    wanted = optimization(artifact, settings, config.get("max_batch_size", 0))
    if "execution_accelerators" in wanted:
        kept["execution_accelerators"] |= wanted["execution_accelerators"]
    if settings.cuda_graph is not None:
        kept["cuda"] = {**kept.get("cuda", {}), "graphs": settings.cuda_graph}


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return " and ".join(_shown(each) for each in value) or "none"
    if isinstance(value, tuple):
        return quoted(" ".join(_shown(each) for each in value if each) or "none", 200)
    return quoted(str(value), 100)
