"""The documentation, and the scripts that draw, build and check it."""
