"""Train the digits diffusion model and export it, in under three minutes on one thread.

    python scripts/train_digits_diffusion.py [--steps N] [--seed N] [-o FILE.onnx]

Needs the `train` extra. A DDPM (Ho, Jain & Abbeel 2020; epsilon prediction, cosine schedule) on the 8x8 digits
that come with scikit-learn, scaled to [-1, 1]; the exported weights are an exponential moving average.
"""

from __future__ import annotations

import argparse
import copy
import hashlib
import json
import logging
import time
import warnings
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

from qmodel.measure.quality import assess
from qmodel.measure.targets import ddim
from qmodel.measure.targets.unet import UNet

ROOT = Path(__file__).resolve().parent.parent
SCHEDULE = ddim.CosineSchedule()


def digits() -> tuple[torch.Tensor, torch.Tensor]:
    """Images (n, 1, 8, 8) in [-1, 1] and labels (n,)."""
    from sklearn.datasets import load_digits

    data = load_digits()
    return torch.tensor(data.images[:, None] / 8 - 1, dtype=torch.float32), torch.tensor(data.target)


def train(steps: int, seed: int, batch: int = 128, peak_rate: float = 3e-3) -> tuple[UNet, float]:
    """The averaged model, and the mean loss over the last tenth of the steps."""
    torch.manual_seed(seed)
    images, labels = digits()
    model = UNet()
    average = copy.deepcopy(model)
    optimiser = torch.optim.AdamW(model.parameters(), lr=peak_rate, betas=(0.9, 0.99), fused=True)
    rate = torch.optim.lr_scheduler.OneCycleLR(optimiser, peak_rate, total_steps=steps, pct_start=0.1)
    alphas = torch.tensor(SCHEDULE.alphas_cumprod(), dtype=torch.float32)[:, None, None, None]
    losses = []
    for step in range(steps):
        rows = torch.randint(len(images), (batch,))
        times, noise = torch.randint(SCHEDULE.timesteps, (batch,)), torch.randn(batch, *images.shape[1:])
        noisy = alphas[times].sqrt() * images[rows] + (1 - alphas[times]).sqrt() * noise
        loss = functional.mse_loss(model(noisy, times, labels[rows]), noise)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        rate.step()
        update_average(average, model, min(0.995, (1 + step) / (10 + step)))
        losses.append(loss.item())
        if (step + 1) % 100 == 0:
            print(f"step {step + 1:5d} of {steps}  loss {np.mean(losses[-100:]):.4f}", flush=True)
    return average.eval(), float(np.mean(losses[-max(1, steps // 10) :]))


@torch.no_grad()
def update_average(average: UNet, model: UNet, decay: float) -> None:
    """average <- decay average + (1 - decay) model."""
    torch._foreach_lerp_(list(average.parameters()), list(model.parameters()), 1 - decay)


@torch.no_grad()
def sample(model: UNet, count: int, steps: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Generated images (n, 8, 8) in [0, 16] and the labels asked for."""
    labels = np.arange(count) % 10
    x = np.random.default_rng(seed).standard_normal((count, 1, 8, 8), dtype=np.float32)
    scratch = np.empty_like(x)
    for update in ddim.updates(steps, SCHEDULE):
        eps = model(torch.from_numpy(x), torch.full((count,), update.timestep), torch.from_numpy(labels))
        ddim.denoise(x, eps.numpy(), update, scratch)
    return (x[:, 0] + 1) * 8, labels


def export(model: UNet, path: Path) -> None:
    """Write the model as ONNX with a dynamic batch axis."""
    size, channels = model.config.image_size, model.config.in_channels
    example = (
        torch.zeros(2, channels, size, size),
        torch.zeros(2, dtype=torch.int64),
        torch.zeros(2, dtype=torch.int64),
    )
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # else: what it skips, e.g. torchvision
    warnings.filterwarnings("ignore", module="torch|copyreg")
    batch = torch.export.Dim("n", min=1, max=65536)
    program = torch.onnx.export(
        model,
        example,
        dynamo=True,
        external_data=False,
        input_names=["sample", "timestep", "label"],
        output_names=["eps"],
        dynamic_shapes=({0: batch}, {0: batch}, {0: batch}),
        verbose=False,
    )
    for node in program.model.graph:  # stack traces and node metadata would double the file
        node.metadata_props.clear()
        node.doc_string = None
    temporary = path.with_suffix(".onnx.tmp")
    program.save(str(temporary), external_data=False)
    temporary.replace(path)


def describe(path: Path, **facts: object) -> None:
    """Write what the model is and where it came from, beside it."""
    libraries = ("torch", "onnx", "onnxscript", "scikit-learn", "numpy")
    record = {
        "schedule": {"kind": "cosine", **asdict(SCHEDULE)},
        **facts,
        "onnx_sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "onnx_bytes": path.stat().st_size,
        "versions": {name: version(name) for name in libraries},
    }
    temporary = path.with_suffix(".json.tmp")
    temporary.write_text(json.dumps(record, indent=2) + "\n")
    temporary.replace(path.with_suffix(".json"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=1600, help="training steps")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("-o", "--output", type=Path, default=ROOT / "qmodel/measure/targets/digits_unet.onnx")
    options = parser.parse_args()
    torch.set_num_threads(1)
    began = time.perf_counter()
    model, loss = train(options.steps, options.seed)
    seconds = time.perf_counter() - began
    agreements = {}
    for steps in (1, 2, 4, 8, 16, 32, 50):
        quality = assess(*sample(model, 500, steps, seed=0))
        agreements[steps] = quality.agreement
        print(
            f"{steps:3d} DDIM steps: classifier agreement {quality.agreement:.3f}, "
            f"Fréchet distance {quality.frechet_distance:.3f} (real digits: {quality.real_frechet_distance:.3f})",
            flush=True,
        )
    parameters = sum(p.numel() for p in model.parameters())
    export(model, options.output)
    describe(
        options.output,
        config=asdict(model.config),
        parameters=parameters,
        training={"seed": options.seed, "steps": options.steps, "batch": 128, "loss": round(loss, 5)},
        classifier_agreement=agreements,
    )
    print(f"{parameters} parameters, loss {loss:.4f}, trained in {seconds:.0f} s; wrote {options.output}")


if __name__ == "__main__":
    main()
