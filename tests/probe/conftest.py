"""What the probe's tests share."""

from tests.nvml import nvml_double

__all__ = ["nvml_double"]
