"""Triton: the model repository, the embedded install, servers, their control interface and statistics."""
