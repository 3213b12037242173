"""What a person reads, made from a `RunResult` and the samples of its points: page, table, summary, CSV."""
