"""`harness probe --serve`: readings of this machine, served to runs that are led from elsewhere."""
