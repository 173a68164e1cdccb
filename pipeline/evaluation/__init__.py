"""Evaluation of a trained network: accuracy, weight statistics and cost."""
