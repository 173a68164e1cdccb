"""Tables and figures from files alone: no torch model is built to draw a report."""
