"""A served model without a server: arrivals, Triton's dynamic batcher and service times, as a simulation."""
