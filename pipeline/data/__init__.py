"""Images: sources, the prepared split, batches."""
