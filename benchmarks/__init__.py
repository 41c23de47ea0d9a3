"""Measurements of the engine, by hand: see README.md."""
