"""The scripts that these tests start are also modules that they use."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
