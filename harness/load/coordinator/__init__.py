"""The driver of one drive: it starts the load processes, leads them in step, and decides when to stop."""
