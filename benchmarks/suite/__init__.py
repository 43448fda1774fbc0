"""What asv tracks: one file for each file of kernels, and files for whole training steps and their costs.

asv imports this package by itself; the scripts that it shares cases and lists with stand one folder above.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
