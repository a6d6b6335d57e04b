"""Makes the helpers in ``fixtures`` importable from every test, and all runs alike."""

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ["DSFORMER_AUTOTUNE"] = "0"
pytest_plugins = ["fixtures.trained"]
# Workers of pytest-xdist share the cores; said before torch is imported.
workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
if workers > 1:
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // workers)))
