"""`python -m gags.cli`, the same as `gags`."""

import sys

from gags.cli import main

if __name__ == "__main__":
    sys.exit(main())
