"""Measurements of speed: what backs the figures in docs/speed.md and in the reports."""
