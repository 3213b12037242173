"""Which configuration the points of a run speak for, a workload at a time."""
