"""The parts of `harness ab --bisect`: the build of a commit, and the process that makes it."""
