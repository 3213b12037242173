"""The torch modules that are exported from transformers' models. Imports torch: only for an export."""

from __future__ import annotations

import inspect
import logging
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import transformers
from huggingface_hub import constants
from transformers import AutoModel
from transformers.utils import logging as transformers_logging

from harness.model import huggingface
from harness.model.loaded_weights import check_weights
from harness.model.shapes import proving_feeds, proving_shapes
from harness.model.signature import Signature, TorchModel
from harness.plain_text import shown
from harness.schema.errors import InputError

_PLAIN = {"use_cache": False, "output_attentions": False, "output_hidden_states": False, "return_dict": True}
"""Whatever config.json says: a cache of keys, and what goes on inside, would become outputs."""

_INNER = re.compile(
    "(intermediate|initial|init|enc|encoder|decoder|denoising)_.*|.*hidden_states?|.*attentions|pooler_output"
)
"""Names of outputs that a head is made with, not the head's."""
_BARE = ("last_hidden_state", "pooler_output")
"""What a model without a head is for, the first that it has."""

_ANOTHER_SENSE = ("pixel_values", "input_values", "input_features", "visual_feats", "visual_embeds")
"""Inputs of models that see or hear beside reading."""

_OPTIONAL = ("token_type_ids", "bbox", "pixel_values", "image", "entity_ids", "langs", "xpath_tags_seq")
"""What models of transformers take beside token ids and their mask, and do without."""


class Outputs(torch.nn.Module):  # type: ignore[misc]  # torch is untyped here
    """A model of transformers, called with the inputs by name: the outputs of those names, in their order."""

    def __init__(self, model: Any, inputs: Sequence[str], outputs: Sequence[str]) -> None:
        super().__init__()
        self.model = model
        self.inputs = tuple(inputs)
        self.outputs = tuple(outputs)

    def forward(self, *given: Any) -> tuple[Any, ...]:
        made = self.model(**dict(zip(self.inputs, given, strict=True)))
        return tuple(made[name] for name in self.outputs)


class SentenceEmbedding(torch.nn.Module):  # type: ignore[misc]
    """One vector a text: [batch, width]. Pools like sentence-transformers' Pooling and Normalize."""

    def __init__(self, encoder: Any, head: huggingface.Head) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = head

    def forward(self, input_ids: Any, attention_mask: Any) -> Any:
        hidden = self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        mask = attention_mask.unsqueeze(-1).to(hidden.dtype)
        if self.head.pooling == "mean":
            pooled = (hidden * mask).sum(1) / mask.sum(1).clamp(min=1e-9)
        elif self.head.pooling == "cls":
            pooled = hidden[:, 0]
        else:
            pooled = hidden.masked_fill(mask == 0, -1e9).max(1).values
        return torch.nn.functional.normalize(pooled, p=2, dim=1) if self.head.normalize else pooled


class AnySizeImage(torch.nn.Module):  # type: ignore[misc]
    """The class token's vector of a ViT whose position embeddings are interpolated to the image's size."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixel_values: Any) -> Any:
        return self.model(pixel_values=pixel_values, interpolate_pos_encoding=True).last_hidden_state[:, 0]


def from_folder(folder: Path) -> TorchModel:
    """The folder's model in FP32: with the head that config.json's `architectures` names, or the pooling that
    modules.json does, which stands in its place.

    Raises InputError when transformers can't load it, when weights are missing, or don't fit, or when it
    takes more than a request of harness has.
    """
    signature = huggingface.signature(folder)
    pooling = huggingface.head(folder)
    model, parts = _loaded(folder, AutoModel if pooling else _class(folder))
    if pooling:
        module: Any = SentenceEmbedding(model, pooling)
        outputs: tuple[str, ...] = ("sentence_embedding",)
        unused: tuple[str, ...] = ()
    else:
        outputs, unused = _outputs(folder, model, signature)
        module = Outputs(model, [i.name for i in signature.inputs], outputs)
    left_out = [
        *(f"output {name}" for name in unused),
        *(f"input {name}" for name in _not_given(model, signature) if not pooling),
        *(f"weights {name}" for name in parts),
    ]
    remarks = (f"left out of the export: {', '.join(left_out)}",) if left_out else ()
    return TorchModel(module, signature.inputs, outputs, signature.axes, remarks=remarks)


def _class(folder: Path) -> Any:
    """Of transformers: what config.json names, or what suits the model's type where it names none."""
    named = huggingface.architecture(folder)
    if named is None:
        return AutoModel
    found = getattr(transformers, named, None)
    if not isinstance(found, type) or not issubclass(found, transformers.PreTrainedModel):
        raise InputError(
            f"{folder / 'config.json'} names the architecture {named[:80]}, which transformers "
            f"{transformers.__version__} doesn't have: install the version that has it, or write a factory "
            "(`package.module:factory`)"
        )
    return found


def _loaded(folder: Path, kind: Any) -> tuple[Any, tuple[str, ...]]:
    """The model, and the parts in the folder's files that it has no place for."""
    transformers_logging.disable_progress_bar()
    logging.getLogger("transformers").setLevel(logging.CRITICAL)  # what it has to say comes as an exception
    try:
        with _offline():
            model, loaded = kind.from_pretrained(
                folder,
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # they are refused by name, below
                local_files_only=True,
                use_safetensors=True,
                trust_remote_code=False,
                dtype=torch.float32,
            )
    except Exception as error:  # transformers raises many kinds for a folder that is not whole
        raise InputError(
            f"transformers can't load {folder}: {_first_line(error)}; check it with "
            f"{kind.__name__}.from_pretrained"
        ) from error
    parts = check_weights(folder, model, loaded)
    for key, value in _PLAIN.items():
        if hasattr(model.config, key):
            setattr(model.config, key, value)
    return model.eval(), parts


def _outputs(folder: Path, model: Any, signature: Signature) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Names of the outputs that the model is asked for, and of those that are left out: what its encoder
    hands to its head, where it has one, and else what is made of the last hidden state.

    Raises InputError where the model takes another input, or fails on these.
    """
    kind = type(model).__name__
    takes = inspect.signature(model.forward).parameters
    wanted = [i.name for i in signature.inputs]
    needed = [n for n, p in takes.items() if p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD]
    if "bbox" not in wanted:  # pages are read without their picture
        needed += [name for name in _ANOTHER_SENSE if name in takes]
    missing = [name for name in (*needed, model.main_input_name) if name not in wanted]
    if missing:
        raise InputError(
            f"{kind} of {folder} takes {missing[0]}, and harness has {' and '.join(wanted)} for it: write a "
            "factory (`package.module:factory`) whose Inputs say what the model takes"
        )
    feeds = proving_feeds(signature, proving_shapes(signature)[0], seed=0)
    try:
        with torch.no_grad():
            made = model(**{name: torch.from_numpy(value) for name, value in feeds.items()})
        given = {name: value for name, value in made.items() if isinstance(value, torch.Tensor)}
    except Exception as error:  # a model may raise anything
        raise InputError(
            f"{kind} of {folder} fails on {' and '.join(wanted)} ({_first_line(error)}): correct "
            "config.json, or write a factory (`package.module:factory`)"
        ) from error
    rows = len(next(iter(feeds.values())))
    named = [name for name, value in given.items() if value.ndim and len(value) == rows]
    heads = [name for name in named if not _INNER.fullmatch(name)]
    chosen = heads or [name for name in _BARE if name in named][:1]
    if not chosen:
        raise InputError(
            f"{kind} of {folder} returns {', '.join(made) or 'nothing'}, of which nothing has a row per row "
            "of its input: write a factory (`package.module:factory`)"
        )
    return tuple(chosen), tuple(name for name in given if name not in chosen)


def _not_given(model: Any, signature: Signature) -> list[str]:
    """Names of inputs that the model could take, and that are left at what it makes of their absence."""
    takes = inspect.signature(model.forward).parameters
    given = {i.name for i in signature.inputs}
    kinds = getattr(model.config, "type_vocab_size", None) or 0
    return [
        name
        for name in _OPTIONAL
        if name in takes and name not in given and (name != "token_type_ids" or kinds > 1)
    ]


def _first_line(error: Exception) -> str:
    said = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    return shown(" ".join(said[:2]) if said[0].endswith(":") else said[0])[:200]


@contextmanager
def _offline() -> Iterator[None]:
    """For the time of the block, huggingface_hub reaches no network: a folder holds all it needs, and a key
    of its config.json that names something else is not followed."""
    before, constants.HF_HUB_OFFLINE = constants.HF_HUB_OFFLINE, True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before
