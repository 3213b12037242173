"""Several load processes, here or on other machines: Locust's master and workers behind a guarded door."""
