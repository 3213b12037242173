"""The harness against what is known: models of known service time, and NVIDIA's perf_analyzer."""
