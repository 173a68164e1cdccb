"""Prepared images as batches: what trainings and evaluation read."""
