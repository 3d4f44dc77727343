"""bench/ is a folder of scripts, not a package: its modules are found as the scripts find them."""

import sys
from pathlib import Path

BENCH = Path(__file__).resolve().parents[2] / "bench"

for folder in (BENCH, BENCH / "engines"):
    sys.path.append(str(folder))
