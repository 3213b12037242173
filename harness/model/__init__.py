"""From a torch module, a Hugging Face folder or an ONNX file to a verified model.onnx and its payloads.

`Axis`, `Input` and `TorchModel` are what a user's own factory (`package.module:factory`) is written with.
"""

from harness.model.signature import Axis, Input, TorchModel

__all__ = ["Axis", "Input", "TorchModel"]
