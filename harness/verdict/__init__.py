"""Whether one arm is worse than another, by rounds that were measured in turns. No I/O."""
