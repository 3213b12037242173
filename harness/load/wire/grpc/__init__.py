"""Triton's gRPC protocol over prepared HTTP/2 frames."""
