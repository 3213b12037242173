"""The search for the best configuration of a server: what to measure next, and what the measurements say.

Pure: nothing here measures, so that a search can be tried on a simulated server.
"""
