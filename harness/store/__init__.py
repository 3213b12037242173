"""Files: scenarios read, run folders written atomically."""
