"""Tables and figures from files alone."""
