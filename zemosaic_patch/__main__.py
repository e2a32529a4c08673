# SPDX-License-Identifier: GPL-3.0-or-later
"""The command itself, `python -m zemosaic_patch` too: Ctrl-C ends it in a line from its first moment on."""

import sys


def main() -> int:
    """Run the command line of this process; return the exit code."""
    try:
        from zemosaic_patch.cli import main as run  # in here, as this takes a tenth of a second

        return run()
    except KeyboardInterrupt:  # while that is loaded
        print("zemosaic-patch: stopped by the user", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
