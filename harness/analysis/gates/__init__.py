"""What a point must pass before its figures may be used: a function for each gate, a table of them all."""
