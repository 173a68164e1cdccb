"""Commands for maintainers: what the Makefile calls."""
