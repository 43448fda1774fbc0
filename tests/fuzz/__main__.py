"""``python tests/fuzz`` from the root of a checkout."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # where this package and the references are

from fuzz.main import main

sys.exit(main())
