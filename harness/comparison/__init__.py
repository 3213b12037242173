"""Whether runs of several machines may be compared, and what each is over the first. No I/O."""
