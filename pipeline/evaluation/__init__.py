"""What a trained network is worth: accuracy, weight statistics, cost."""
