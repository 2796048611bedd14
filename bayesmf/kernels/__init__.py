"""The compiled parts: serial functions that release the GIL, called over blocks from threads."""
