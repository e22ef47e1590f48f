"""`python -m mast_edge`, the same as the `mast-edge` command."""

from mast_edge.cli import main

if __name__ == "__main__":
    main()
