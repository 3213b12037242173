"""Ready files for what starts `harness nightly` every night. No I/O."""
