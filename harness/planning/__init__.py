"""How many replicas a demand takes, by simulation of what was measured. No I/O."""
