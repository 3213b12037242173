"""Load shapes, one a file: how many users, or which rate over time, or which times. `table` lists them."""
