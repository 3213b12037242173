"""The load path: arrival schedules, prepared wires, the Locust user, and the driver that runs one point."""
