"""The parts of `harness plan`: what was measured, the plan for a kind of hardware, and its check."""
