"""Sources of images, which the stage prepare reads."""
