"""Measure a model behind NVIDIA Triton before it goes on GPUs."""

__version__ = "0.1.0"
