"""``python -m fastbp``, and what the command ``fastbp`` starts."""

import sys

from fastbp._startup import INTERRUPTED, leave


def main() -> int:
    """Run the command line and return the exit status; Ctrl-C ends it quietly, also while it is imported."""
    try:
        from fastbp import cli

        return cli.main()
    except KeyboardInterrupt:
        sys.stderr.write("\ninterrupted\n")
        return INTERRUPTED
    finally:
        leave()


if __name__ == "__main__":
    sys.exit(main())
