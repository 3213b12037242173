"""A process of its own that reads the GPUs at a fixed pace, and what it writes."""
