"""Runs one of the scripts that print a table, for its JSON."""

import json
import subprocess
import sys


def run(script, *arguments):
    """What ``script`` prints, as an object."""
    command = [sys.executable, str(script), *map(str, arguments)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode:
        raise RuntimeError(result.stderr)
    return json.loads(result.stdout)
