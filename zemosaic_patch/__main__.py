# SPDX-License-Identifier: GPL-3.0-or-later
"""`python -m zemosaic_patch`: the command."""

import sys

from zemosaic_patch.cli import main

if __name__ == "__main__":
    sys.exit(main())
