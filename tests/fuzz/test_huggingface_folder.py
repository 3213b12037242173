"""A Hugging Face folder with a file that nobody's tool wrote: a signature and a content, or one sentence."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from hypothesis import strategies as st

from harness.model import huggingface
from harness.model.signature import Signature
from harness.model.text import token_rows
from harness.schema.errors import InputError
from tests.fuzz import fuzz, mutated

CONFIG = {
    "model_type": "roberta",
    "vocab_size": 50,
    "max_position_embeddings": 40,
    "pad_token_id": 1,
    "text_config": {"_attn_implementation": "sdpa"},
    "experts_implementation": {"": "eager"},
    "backbone": "resnet50",
    "image_size": [32, 32],
}
IMAGE = {"num_channels": 3, "image_size": {"height": 32, "width": 32}, "architecture": "vit"}
NAMED = {**CONFIG, "transformers_weights": "model.safetensors.index.json", "auto_map": None}
INDEX = {
    "metadata": {},
    "weight_map": {"a": "a.safetensors", "b": "sub/b.safetensors", "c": "../c.safetensors"},
}
MODULES = [
    {"path": "", "type": "s.Transformer"},
    {"path": "1_Pooling", "type": "s.Pooling"},
    {"type": "Normalize"},
]
POOLING = {"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": False, "include_prompt": True}
LONGEST = {"model_max_length": 1000000000000000019884624838656}
TOKENIZER = {
    "version": "1.0",
    "truncation": {"direction": "Right", "max_length": 8, "strategy": "LongestFirst", "stride": 0},
    "added_tokens": [
        {
            "id": 0,
            "content": "[CLS]",
            "special": True,
            "single_word": False,
            "lstrip": False,
            "rstrip": False,
            "normalized": False,
        }
    ],
    "normalizer": {
        "type": "BertNormalizer",
        "clean_text": True,
        "handle_chinese_chars": True,
        "strip_accents": None,
        "lowercase": True,
    },
    "pre_tokenizer": {
        "type": "Sequence",
        "pretokenizers": [
            {"type": "Whitespace"},
            {"type": "Split", "pattern": {"Regex": "\\d+"}, "behavior": "Isolated", "invert": False},
        ],
    },
    "post_processor": {
        "type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": "[CLS]", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [],
        "special_tokens": {"[CLS]": {"id": "[CLS]", "ids": [0], "tokens": ["[CLS]"]}},
    },
    "decoder": None,
    "model": {
        "type": "WordLevel",
        "vocab": {"[CLS]": 0, "[UNK]": 1, "the": 2, "of": 3},
        "unk_token": "[UNK]",
    },
}


def written(value: object) -> bytes:
    return json.dumps(value, indent=1).encode()


def text_of(*samples: object) -> st.SearchStrategy[bytes]:
    """A mutated JSON text, or a JSON value with a part of it exchanged, which a mutated text seldom is."""
    scalars = st.one_of(st.none(), st.booleans(), st.integers(-3, 10**12), st.text(max_size=5), st.floats())
    values = st.recursive(
        scalars, lambda v: st.lists(v, max_size=3) | st.dictionaries(st.text(max_size=3), v), max_leaves=5
    )

    @st.composite
    def exchanged(draw: st.DrawFn) -> bytes:
        sample = json.loads(json.dumps(draw(st.sampled_from(samples))))
        at = sample
        while isinstance(at, dict | list) and at:
            key = (
                draw(st.sampled_from(sorted(at)))
                if isinstance(at, dict)
                else draw(st.integers(0, len(at) - 1))
            )
            if not isinstance(at[key], dict | list) or not at[key] or draw(st.booleans()):
                at[key] = draw(values)
                break
            at = at[key]
        return written(sample)

    return st.one_of(mutated(*map(written, samples)), exchanged())


def folder_with(top: str, **files: bytes) -> Path:
    folder = Path(top) / "m"
    for name, content in {
        "config.json": written(CONFIG),
        "a.safetensors": b"",
        "sub/b.safetensors": b"",
        "1_Pooling/config.json": written(POOLING),
        **files,
    }.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def look(**files: bytes) -> None:
    with tempfile.TemporaryDirectory() as top:
        folder = folder_with(top, **files)
        try:
            signature, content = huggingface.signature(folder), huggingface.content(folder)
        except InputError as error:
            assert "\n" not in str(error) and len(str(error)) < 1000, str(error)
            return
        assert isinstance(signature, Signature) and content
        for tensor in signature.inputs:
            assert all(isinstance(a, str) or 0 < a < 10**9 for a in tensor.axes)
        assert all(".." not in each and not each.startswith("/") for each in content)


@fuzz(text_of(CONFIG, IMAGE, NAMED))
def test_config(text: bytes) -> None:
    look(**{"config.json": text, "model.safetensors.index.json": written(INDEX).replace(b"../", b"")})


@fuzz(text_of(INDEX))
def test_index(text: bytes) -> None:
    look(**{"model.safetensors.index.json": text})


@fuzz(text_of(MODULES), text_of(POOLING))
def test_modules_and_pooling(modules: bytes, pooling: bytes) -> None:
    look(**{"modules.json": modules, "1_Pooling/config.json": pooling})


@fuzz(text_of(LONGEST), text_of({"crop_size": 3, "size": {"shortest_edge": 32}}))
def test_what_is_read_beside_the_config(tokenizer_config: bytes, preprocessor: bytes) -> None:
    look(**{"tokenizer_config.json": tokenizer_config})
    image = written({"num_channels": 3})
    look(**{"config.json": image, "preprocessor_config.json": preprocessor})


HEADER = json.dumps(
    {
        "__metadata__": {"format": "pt"},
        "a": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]},
        "pooler.b": {"dtype": "F16", "shape": [4], "data_offsets": [24, 32]},
    }
).encode()
SAFETENSORS = len(HEADER).to_bytes(8, "little") + HEADER + bytes(32)
TINY = {
    "model_type": "bert",
    "vocab_size": 2,
    "hidden_size": 3,
    "num_hidden_layers": 0,
    "num_attention_heads": 1,
    "intermediate_size": 1,
    "max_position_embeddings": 4,
}


@fuzz(mutated(SAFETENSORS))
def test_safetensors(content: bytes) -> None:
    from harness.model.modules import from_folder

    with tempfile.TemporaryDirectory() as top:
        folder = folder_with(top, **{"config.json": written(TINY), "model.safetensors": content})
        (folder / "a.safetensors").unlink()
        try:
            from_folder(folder)
        except InputError as error:
            assert ("\n" not in str(error) and "lack" in str(error)) or "can't load" in str(error)
            return
        raise AssertionError("there were no weights of a BERT")


@fuzz(text_of(TOKENIZER))
def test_tokenizer(text: bytes) -> None:
    import numpy as np

    with tempfile.TemporaryDirectory() as top:
        file = Path(top) / "tokenizer.json"
        file.write_bytes(text)
        try:
            rows = token_rows(file, ["the light of the sun"], 4, 2, np.random.default_rng(0))
        except InputError as error:
            assert "\n" not in str(error), str(error)
            return
        assert rows.shape == (2, 4)
