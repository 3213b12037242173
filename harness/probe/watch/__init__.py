"""What observes the GPUs of one point: on this machine, on another, or not at all."""
