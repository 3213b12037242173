"""Frozen data that flows through the harness, and its errors. No I/O, no imports from other rooms."""
