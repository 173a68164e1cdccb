"""Phases (what is trained with which losses) over one trainer (how)."""
