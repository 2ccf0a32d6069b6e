"""Measure a GPU: prefill, decode, early exit, precision, diffusion and live runs, in stages of a few minutes each.

    python scripts/gpu_campaign.py list
    python scripts/gpu_campaign.py decode-8b prefill-8b --out DIR [--from DIR] [--budget-s 520]
    python scripts/gpu_campaign.py all --scale smoke --device cpu --out DIR

Runs from the source tree; needs torch and numpy, whatever else is there. Begin with the smoke test (without
`--device`: on the GPU), for a minute; then the stages, several in one call as long as their seconds (`list`) fit in
the budget. What came back from one call is given to the next with `--from`, and a stage that was cut goes on there.
With half an hour of a GPU in calls of at most ten minutes, each leaving at most six files:

    decode-8b decode-1b;  live diffusion;  prefill-8b exit-precision;  prefill-1b

At last `summarise --from DIR`, where qmodel is installed, makes `measurements/<device>/`. See `scripts/campaign/`.
"""

import sys
import time
from pathlib import Path

STARTED = time.monotonic()
sys.path[:0] = [str(Path(__file__).resolve().parent), str(Path(__file__).resolve().parent.parent)]

from campaign.main import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main(STARTED))
