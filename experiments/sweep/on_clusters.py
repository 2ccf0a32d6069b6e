"""One sweep on this machine's cores, on a two-worker Ray cluster and on a two-worker Dask cluster, held together.

    pip install 'qmodel[ray,dask]'
    python experiments/sweep/on_clusters.py [ray] [dask]

Each cluster is started here as it would be on several machines: a head or scheduler, then workers that are told its
address. `qmodel simulate --engine ray` finds it by RAY_ADDRESS, `--engine dask` by DASK_SCHEDULER_ADDRESS. The
workers need qmodel installed, and no file of the scenario: the questions travel to them, the answers travel back.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

HERE = Path(__file__).parent
BIN = Path(sys.executable).parent
SWEEP = (
    "simulate", "scenario.toml", "--vary", "system.servers=2,3", "--policy", "fcfs,np-priority,srpt",
    "--rate", "0.6,0.9", "--requests", "100000", "--json",
)  # fmt: skip


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def started(*words: str, **address: str) -> Iterator[None]:
    """A process of a cluster, ended with the block."""
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "env": os.environ | address}
    process = subprocess.Popen([str(BIN / words[0]), *words[1:]], **quiet)
    try:
        yield
    finally:
        process.terminate()
        process.wait(timeout=60)


def wait_for(port: int, seconds: float = 120.0) -> None:
    """Until something listens on the port."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.2)
    sys.exit(f"nothing listens on port {port} after {seconds:.0f} s")


@contextmanager
def ray_cluster() -> Iterator[dict[str, str]]:
    """Two nodes of one worker each, with a token that only they and the sweep know."""
    port = free_port()
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    here = ("--node-ip-address", "127.0.0.1", "--num-cpus", "1", "--object-store-memory", "100000000", "--block")
    with ExitStack() as stack:
        head = ("ray", "start", "--head", "--port", str(port), "--include-dashboard", "false")
        stack.enter_context(started(*head, *here, **token))
        wait_for(port)
        stack.enter_context(started("ray", "start", "--address", f"127.0.0.1:{port}", *here, **token))
        time.sleep(5.0)  # the second node joins
        yield {"RAY_ADDRESS": f"127.0.0.1:{port}", **token}


@contextmanager
def dask_cluster() -> Iterator[dict[str, str]]:
    """A scheduler and two workers."""
    port = free_port()
    address = f"tcp://127.0.0.1:{port}"
    with ExitStack() as stack:
        stack.enter_context(started("dask", "scheduler", "--port", str(port), "--no-dashboard"))
        wait_for(port)
        for _ in range(2):
            stack.enter_context(started("dask", "worker", address, "--nthreads", "1", "--no-dashboard"))
        yield {"DASK_SCHEDULER_ADDRESS": address}


CLUSTERS = {"ray": ray_cluster, "dask": dask_cluster}


def swept(engine: str, *more: str, **address: str) -> str:
    """Run the sweep; say how long it took and what came out, and return it."""
    begin = time.monotonic()
    words = [sys.executable, "-m", "qmodel", *SWEEP, "--engine", engine, *more]
    done = subprocess.run(words, cwd=HERE, env=os.environ | address, stdout=subprocess.PIPE, text=True, check=True)
    digest = hashlib.sha256(done.stdout.encode()).hexdigest()[:16]
    print(f"{engine:6}{time.monotonic() - begin:7.1f} s   answer {digest}", flush=True)
    return done.stdout


def main(engines: list[str]) -> int:
    """How many answers differ from that of the cores."""
    answers = {swept("local", "--jobs", "2")}
    for engine in engines:
        with CLUSTERS[engine]() as address:
            answers.add(swept(engine, **address))
    print("the same answer everywhere" if len(answers) == 1 else "THE ANSWERS DIFFER")
    return len(answers) - 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:] or list(CLUSTERS)))
