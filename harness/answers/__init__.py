"""What the points of a run answer, a workload at a time."""
