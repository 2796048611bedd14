"""What is kept of a run: the schema of the DataTree and the recorder that fills it."""
