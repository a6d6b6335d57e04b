"""Makes the helpers in ``fixtures`` importable from every test, and all runs alike."""

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ["DSFORMER_AUTOTUNE"] = "0"
