"""Images as their sources hold them: what the stage prepare reads."""
