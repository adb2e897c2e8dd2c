"""`python -m udonx.cli`: the command line where the `udonx` script is not installed."""

import sys

from udonx.cli import main

sys.exit(main())
