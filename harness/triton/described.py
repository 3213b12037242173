"""What a server says of a model that it has by itself (KServe v2 protocol; Triton's "Model Configuration
Extension")."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from harness.plain_text import quoted
from harness.schema.errors import InputError
from harness.schema.served_model import Served, ServedModel, ServedTensor
from harness.schema.tensors import ANY_NUMPY
from harness.triton.control import Control

_KNOWN = tuple(ANY_NUMPY)


def described(
    control: Control,
    served: Served,
    *,
    source: str,
    files: Callable[[Sequence[str]], dict[str, str]] | None = None,
) -> ServedModel:
    """A model that is loaded there. `source`: where it comes from, in words; `files`: gives the SHA-256 of
    each file of some models, by path, where they can be seen.

    Raises ServerError where the server doesn't describe it, InputError where it takes what can't be sent.
    """
    metadata = control.model_metadata(served.served, served.version)
    config = control.model_config(served.served, served.version)
    max_batch = int(config.get("max_batch_size", 0))
    composing = _composing(control, config)
    known = None if files is None else files((served.served, *composing))
    flags = {tensor["name"]: tensor for tensor in config.get("input", ())}
    return ServedModel(
        name=served.served,
        version=served.version,
        versions=tuple(str(version) for version in metadata.get("versions", ())),
        source=source,
        platform=str(metadata.get("platform") or config.get("backend") or "unknown"),
        inputs=tuple(_tensors(served, metadata.get("inputs", ()), flags, max_batch)),
        outputs=tuple(_tensors(served, metadata.get("outputs", ()), {}, max_batch)),
        max_batch=max_batch,
        features=tuple(_features(config)),
        composing=composing,
        decoupled=bool(config.get("model_transaction_policy", {}).get("decoupled", False)),
        config=config,
        files=known,
        config_sha256=_digest(config),
        sha256=_digest(known or {key: config[key] for key in config if key != "instance_group"}),
    )


def _composing(control: Control, config: Mapping[str, Any], depth: int = 8) -> tuple[str, ...]:
    """The models of an ensemble's steps, each once. Raises ServerError."""
    found: dict[str, None] = {}
    for step in config.get("ensemble_scheduling", {}).get("step", ()) if depth else ():
        name = str(step.get("model_name"))
        found[name] = None
        found |= dict.fromkeys(_composing(control, control.model_config(name), depth - 1))
    return tuple(found)


def _digest(said: Mapping[str, Any]) -> str:
    text = json.dumps(said, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _tensors(
    served: Served, tensors: Any, flags: Mapping[str, Mapping[str, Any]], max_batch: int
) -> Iterator[ServedTensor]:
    for tensor in tensors:
        name, datatype, shape = tensor["name"], tensor["datatype"], tuple(tensor["shape"])
        if datatype not in _KNOWN:
            raise InputError(
                f"{served} has a tensor {quoted(name, 60)!r} of {quoted(datatype, 60)}, which harness can't "
                "send"
            )
        own = flags.get(name, {})
        shape_tensor = bool(own.get("is_shape_tensor", False))
        # The metadata has the batch as an axis of size -1; that of a shape tensor is one of its values.
        dims = shape[1:] if max_batch > 0 and not shape_tensor else shape
        if shape_tensor and own.get("dims"):
            dims = tuple(int(size) for size in own["dims"])
        yield ServedTensor(
            name=name,
            datatype=datatype,
            dims=dims,
            optional=bool(own.get("optional", False)),
            ragged=bool(own.get("allow_ragged_batch", False)),
            shape_tensor=shape_tensor,
        )


def _features(config: Mapping[str, Any]) -> Iterator[str]:
    """What a reader must know of its owner's choices, in the words of Triton's "Model Configuration"."""
    if "ensemble_scheduling" in config:
        steps = config["ensemble_scheduling"].get("step", ())
        yield f"an ensemble of {', '.join(str(step.get('model_name')) for step in steps)}"
    if (sequences := config.get("sequence_batching")) is not None:
        kind = "oldest" if "oldest" in sequences else "direct"
        yield f"sequence batcher ({kind})"
    batching = config.get("dynamic_batching", {})
    policy = batching.get("default_queue_policy", {})
    if most := int(policy.get("max_queue_size", 0)):
        yield f"a queue of {most} requests at most"
    if after_us := int(policy.get("default_timeout_microseconds", 0)):
        yield f"a timeout of {after_us / 1e3:g} ms in the queue"
    if batching.get("priority_queue_policy"):
        yield "queue policies by priority"
    if levels := int(batching.get("priority_levels", 0)):
        yield f"{levels} priorities"
    if batching.get("preserve_ordering"):
        yield "answers in the order of the requests"
    for group in config.get("instance_group", ()):
        limiter = group.get("rate_limiter", {})
        if limiter.get("resources") or limiter.get("priority"):
            yield "rate limiter"
            break
    if warmups := config.get("model_warmup"):
        yield f"{len(warmups)} warm-up request{'s' * (len(warmups) != 1)} at load"
    if config.get("model_transaction_policy", {}).get("decoupled"):
        yield "decoupled"
    if config.get("response_cache", {}).get("enable"):
        yield "response cache"
