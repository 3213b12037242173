"""The measuring core: a live server, and points that are measured on it.

`run`, `calibrate`, `gpu-check` and the benchmarks are stories on it, and nothing else serves a model to be
measured, restarts a server or reads the environment. A `Testbed` says what is measured with, a `Session` is
that, live.
"""
