"""What the model of a Hugging Face folder takes, told from its config.json: text or images."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Literal

from harness.plain_text import shown
from harness.schema.errors import InputError

Modality = Literal["text", "image"]

_SOUND = (
    "audio_config",
    "conv_dim",
    "feat_extract_norm",
    "feature_projection_input_dim",
    "input_feat_per_channel",
    "num_mel_bins",
    "sampling_rate",
)
"""Keys of models that hear: of Wav2Vec2 and its kin, Whisper, AST, CLAP."""
_SOUND_HEADS = re.compile("CTC|Speech|Audio|XVector|Whisper|Wav2Vec")
_SEVERAL = ("vision_config", "vq_config", "visual_embedding_dim")
"""Keys of models that read and see: of CLIP, LLaVA, Chameleon, VisualBERT and their kin."""
_ONLY_SEE = ("beit", "data2vec-vision")
"""Images whose config has a vocabulary: of the codes that a masked patch is guessed as."""
_FACTORY = (
    "and harness makes requests of text or of images: write a factory (`package.module:factory`) whose "
    "Inputs say what the model takes"
)


def modality(folder: Path, config: dict[str, Any]) -> Modality:
    """Raises InputError where it is sound, several at once, or nothing that harness knows."""
    file = folder / "config.json"
    heard = next((key for key in _SOUND if config.get(key)), None) or _heard(config)
    if heard:
        raise InputError(f"{file} describes a model of sound ({heard}), {_FACTORY}")
    reads = "vocab_size" in config and config.get("model_type") not in _ONLY_SEE
    sees = any(key in config for key in ("num_channels", "image_size", "backbone_config"))
    both = next((key for key in _SEVERAL if config.get(key)), None)
    if reads and config.get("num_channels") and config.get("image_size"):
        both = "vocab_size and image_size"
    if both:
        raise InputError(f"{file} describes a model of text and images at once ({both}), {_FACTORY}")
    if reads:
        return "text"
    if sees:
        return "image"
    raise InputError(
        f"{file} describes neither a text encoder (vocab_size) nor an image model (num_channels): write a "
        "factory (`package.module:factory`) that says what the module takes"
    )


def _heard(config: dict[str, Any]) -> str | None:
    named = config.get("architectures")
    heads = [name for name in named if isinstance(name, str)] if isinstance(named, list) else []
    return next((shown(name)[:80] for name in heads if _SOUND_HEADS.search(name)), None)
