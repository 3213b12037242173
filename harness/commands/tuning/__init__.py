"""The parts of `harness tune`: one measurement, the search, the proof, and what is made of them."""
