"""Networks, full precision and binary, with the same module names."""
