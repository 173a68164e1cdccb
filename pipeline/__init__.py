"""BD-BNN: the library that the stages call. Data flows through it in one direction, see README."""

import os

PARENT = os.getppid()
"""Process that started this one, noted before the imports that take seconds."""
