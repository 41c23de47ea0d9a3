"""The dashboard: how things stand, how the last hours went, and the switches of tasks and schedules."""
