"""BD-BNN: the house the stages call. Data walks one way through it, see README."""
