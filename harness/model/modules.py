"""The torch modules that are exported from transformers' models. Imports torch: only for an export."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import constants
from transformers import AutoModel
from transformers.utils import logging as transformers_logging

from harness.model import huggingface
from harness.model.signature import TorchModel
from harness.schema.errors import InputError

_UNUSED = "pooler."
"""Weights that no output here is made with; many a folder comes without them."""


class LastHiddenState(torch.nn.Module):  # type: ignore[misc]  # torch is untyped here
    """Every token's vector: [batch, tokens, width]."""

    def __init__(self, encoder: Any) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, input_ids: Any, attention_mask: Any) -> Any:
        return self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state


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


class ImageFeatures(torch.nn.Module):  # type: ignore[misc]
    """An image model's last hidden state, as it is."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixel_values: Any) -> Any:
        return self.model(pixel_values=pixel_values).last_hidden_state


class AnySizeImage(torch.nn.Module):  # type: ignore[misc]
    """The class token's vector of a ViT whose position embeddings are interpolated to the image's size."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixel_values: Any) -> Any:
        return self.model(pixel_values=pixel_values, interpolate_pos_encoding=True).last_hidden_state[:, 0]


def from_folder(folder: Path) -> TorchModel:
    """The folder's encoder in FP32 with its pooling head, or its image model.

    Raises InputError when transformers can't load it.
    """
    signature = huggingface.signature(folder)
    transformers_logging.disable_progress_bar()
    logging.getLogger("transformers").setLevel(logging.CRITICAL)  # what it has to say comes as an exception
    try:
        with _offline():
            model, loaded = AutoModel.from_pretrained(
                folder,
                output_loading_info=True,
                local_files_only=True,
                use_safetensors=True,
                trust_remote_code=False,
                dtype=torch.float32,
            )
    except Exception as error:  # transformers raises many kinds for a folder that is not whole
        said = str(error).strip().splitlines() or [type(error).__name__]
        raise InputError(
            f"transformers can't load {folder}: {said[0][:200]}; check it with AutoModel.from_pretrained"
        ) from error
    lacking = sorted(name for name in loaded["missing_keys"] if not name.startswith(_UNUSED))
    if lacking:
        raise InputError(
            f"the safetensors files of {folder} lack {len(lacking)} of the model's weights, {lacking[0]} "
            "among them, and harness makes none up: copy the model's folder again, with all its files"
        )
    if hasattr(model.config, "use_cache"):
        model.config.use_cache = False  # a cache of keys would become an output
    model.eval()
    if signature.inputs[0].name == "pixel_values":
        return TorchModel(ImageFeatures(model), signature.inputs, ("features",), signature.axes)
    head = huggingface.head(folder)
    if head is None:
        return TorchModel(LastHiddenState(model), signature.inputs, ("last_hidden_state",), signature.axes)
    return TorchModel(
        SentenceEmbedding(model, head), signature.inputs, ("sentence_embedding",), signature.axes
    )


@contextmanager
def _offline() -> Iterator[None]:
    """For the time of the block, huggingface_hub reaches no network: a folder holds all it needs, and a key
    of its config.json that names something else is not followed."""
    before, constants.HF_HUB_OFFLINE = constants.HF_HUB_OFFLINE, True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before
