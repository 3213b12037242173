"""What is observed beside the requests: GPUs, the host, and the environment of a run."""
