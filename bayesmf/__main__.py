"""`python -m bayesmf`: the command line."""

from bayesmf.cli.main import main

if __name__ == "__main__":
    raise SystemExit(main())
