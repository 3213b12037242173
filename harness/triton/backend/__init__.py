"""The Python-based `onnxruntime` backend: copied into Triton's backends folder, never imported by harness."""
