"""What a config.json may not name: transformers would fetch or run what isn't in the folder."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from harness.model.own_files import keys, within
from harness.schema.errors import InputError

FACTORY = "write a factory (`package.module:factory`) that builds the module"

_BUILT_IN = {
    "attn_implementation": ("eager", "sdpa"),
    "experts_implementation": ("eager", "batched_mm", "grouped_mm"),
}
"""What torch computes itself. Other words are kernels: packages, or repositories on the hub."""

_REFUSED = {
    "auto_map": f"brings code of its own (`auto_map` in config.json), which harness doesn't run: {FACTORY}",
    "quantization_config": "is quantized (`quantization_config` in config.json), by code that is not in the "
    "folder: dequantize the model and `save_pretrained(folder)`",
    "configuration_files": "names other configurations (`configuration_files` in config.json): load it once "
    "in transformers and `save_pretrained(folder)`",
    "checkpoint_path": "names weights that are not in the folder (`checkpoint_path` in config.json): "
    "remove the key",
}


def check_self_contained(folder: Path, config: dict[str, Any]) -> None:
    """Raise InputError, with the remedy, for a config that names what isn't in `folder`, however deep."""
    for key, value in keys(config):
        if value is None or value in ({}, [], ""):
            continue
        if key in _REFUSED:
            raise InputError(f"{folder} {_REFUSED[key]}")
        built_in = next((words for kind, words in _BUILT_IN.items() if kind in key), None)
        if built_in is not None:
            strange = [word for word in within(value) if isinstance(word, str) and word not in built_in]
            if strange:
                raise InputError(
                    f"{folder} wants the kernel {strange[0][:80]!r} (`{key}` in config.json), which is not "
                    f"in the folder: write {' or '.join(built_in)}, or remove the key"
                )
        if (
            key in ("backbone", "architecture")
            and isinstance(value, str)
            and not re.fullmatch(r"[\w.-]+", value)
        ):
            raise InputError(
                f"{folder} is built on {value[:80]!r} (`{key}` in config.json), which is not in the folder: "
                f"{FACTORY}"
            )
