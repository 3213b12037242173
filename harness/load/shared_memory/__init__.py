"""Tensors in memory that Triton maps too, of the system or of a GPU."""
