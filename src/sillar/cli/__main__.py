"""``python -m sillar.cli`` is ``sillar``."""

import sys

from sillar.cli import main

if __name__ == "__main__":
    sys.exit(main())
