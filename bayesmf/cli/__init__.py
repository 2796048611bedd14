"""The command line: each command reads files, asks the library, and shows what it says."""
