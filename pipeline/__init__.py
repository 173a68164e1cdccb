"""BD-BNN: the library that the stages call. Data flows through it in one direction, see README."""
