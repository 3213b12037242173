from __future__ import annotations

from hypothesis import settings

# Timings are the benchmarks' business; a busy machine must not fail a property.
settings.register_profile("harness", deadline=None, max_examples=100)
settings.load_profile("harness")
