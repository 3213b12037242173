"""Models built of a transformers configuration with random weights, as large as one likes: for speed only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from harness.model.huggingface import Head, text_signature
from harness.model.signature import BATCH, Axis, Input, Signature, TorchModel

SPEED_ONLY = "random weights: speed only"


@dataclass(frozen=True, slots=True)
class Size:
    """How large a configured model is. The defaults are BERT base and ViT base."""

    layers: int = 12
    width: int = 768
    heads: int = 12
    vocabulary: int = 30522
    positions: int = 512
    patch: int = 16
    largest_image: int = 1024


@dataclass(frozen=True, slots=True)
class Configured:
    """A model built of a transformers configuration with seeded random weights: for its speed only."""

    name: str
    architecture: Literal["bert", "vit"]
    size: Size = Size()
    seed: int = 0
    kind: Literal["huggingface"] = "huggingface"
    note: str | None = SPEED_ONLY

    @property
    def words(self) -> str:
        family = {"bert": "BertModel with mean pooling", "vit": "ViTModel"}[self.architecture]
        return f"transformers {family}, {self.size.layers} layers of {self.size.width}, seeded random weights"

    def signature(self) -> Signature:
        if self.architecture == "bert":
            return text_signature(self.size.vocabulary, self.size.positions, None)
        patch, most = self.size.patch, self.size.largest_image
        pixels = Input("pixel_values", "FP32", (BATCH, 3, "height", "width"), -1, 1)
        return Signature((pixels,), tuple(Axis(a, patch, most, patch) for a in ("height", "width")))

    def content(self) -> str:
        return f"{self.architecture} {self.size} {self.seed}"

    def load(self) -> TorchModel:
        import torch
        from transformers import BertConfig, BertModel, ViTConfig, ViTModel

        from harness.model.modules import AnySizeImage, SentenceEmbedding

        size = self.size
        common = {
            "num_hidden_layers": size.layers,
            "hidden_size": size.width,
            "num_attention_heads": size.heads,
            "intermediate_size": 4 * size.width,
        }
        with torch.random.fork_rng():
            torch.manual_seed(self.seed)
            if self.architecture == "bert":
                config = BertConfig(
                    vocab_size=size.vocabulary, max_position_embeddings=size.positions, **common
                )
                # One vector a text: every token's would make the answers, not the model, what is measured.
                module: Any = SentenceEmbedding(
                    BertModel(config, add_pooling_layer=False), Head("mean", normalize=True)
                )
                outputs = ("sentence_embedding",)
            else:
                config = ViTConfig(patch_size=size.patch, **common)
                module = AnySizeImage(ViTModel(config, add_pooling_layer=False))
                outputs = ("features",)
        signature = self.signature()
        return TorchModel(module.eval(), signature.inputs, outputs, signature.axes)
