"""The Python-based `onnxruntime` backend: copied into Triton's backends folder and run there.

Its files import each other by their bare names, so harness imports none of them but `ort_providers`, which
imports only the standard library.
"""
