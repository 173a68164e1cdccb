"""Commands for maintainers: what the Makefile calls."""

import stages  # noqa: F401 -- its handler of Ctrl-C serves here too
