"""The stage of live runs: profile, predictions, runs, files; resumable run by run."""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from campaign import live, livequeue
from campaign.clock import Clock
from campaign.live import LivePlan, RequestLog
from campaign.livequeue import Prediction, ServiceTime
from campaign.metadata import Metadata
from campaign.power import EnergyMeter, energy_meter, gpu_state
from campaign.records import PACING, header, take_over
from campaign.session import Settings, last_resort
from qmodel.live.engine import Engine, make_engine
from qmodel.measure import rows
from qmodel.measure.targets.torch_engine import choose_device

PIXEL_DIFFUSION: dict[str, Any] = {
    "image_size": 32, "in_channels": 3, "channels": [128, 256, 256, 256], "blocks": 2, "groups": 32,
    "attention": True,
}  # fmt: skip
"""The size of the CIFAR-10 model of Ho, Jain & Abbeel 2020 (36 M parameters)."""


@dataclass(frozen=True)
class LiveOutcome:
    """What came of it."""

    runs: int
    complete: int
    left_s: float
    rows: int
    worst: str

    @property
    def line(self) -> str:
        """One line for people."""
        text = f"{self.complete} of {self.runs} runs complete; {self.rows} requests{self.worst}"
        return text + (f"; about {self.left_s:.0f} s left" if self.complete < self.runs else "")


@dataclass(frozen=True)
class LiveStage:
    """The stage at one scale: the network's size, its precision, and the plan of the runs."""

    size: dict[str, Any] = field(default_factory=lambda: dict(PIXEL_DIFFUSION))
    precision: str = "bfloat16"
    plan: LivePlan = field(default_factory=LivePlan)
    name: str = "live"
    title: str = "live runs of a single server under five policies"
    scale: str = "full"

    @property
    def runs(self) -> int:
        """Policies by loads by seeds."""
        return len(livequeue.RULES) * len(self.plan.loads) * len(self.plan.seeds)

    @property
    def expected_s(self) -> float:
        """Seconds on a GPU: the arrivals of every run, half a second around each, profile and start."""
        return 40 + self.runs * (self.plan.horizon_s + 0.5)


def smoke_live() -> LiveStage:
    """A tiny network and runs of a fifth of a second."""
    plan = LivePlan(loads=(0.3, 0.6), seeds=(1,), horizon_s=0.2, profile_repetitions=2, warmup_s=0.01, drain_s=2.0)
    return LiveStage({"image_size": 8, "channels": [8, 16]}, "float32", plan, scale="smoke")


def measure_live(stage: LiveStage, settings: Settings, clock: Clock) -> LiveOutcome | None:
    """Make the runs that fit in the time; None if all were made before. Raises InputError."""
    settings.out.mkdir(parents=True, exist_ok=True)
    path = settings.out / f"{stage.name}.csv"
    resumed = take_over(path, settings.source, resume=settings.resume or settings.source is not None)
    if resumed and Metadata.read(path).content.get("complete"):
        return None
    options = {"device": str(choose_device(settings.device)), "precision": stage.precision, **stage.size}
    engine = make_engine("torch-diffusion", threads=settings.threads, **options)
    try:
        session = _Session(stage, path, engine, options, settings, clock)
        with last_resort(clock, lambda: "live runs; go on with --resume"):
            if resumed:
                session.take_up()
            else:
                session.begin()
            return session.run()
    finally:
        engine.close()


class _Session:
    """One call's work on the live runs."""

    def __init__(
        self,
        stage: LiveStage,
        path: Path,
        engine: Engine,
        options: dict[str, Any],
        settings: Settings,
        clock: Clock,
    ) -> None:
        self.stage, self.path, self.engine, self.clock = stage, path, engine, clock
        self.options, self.threads = options, settings.threads
        self.metadata: Metadata
        self.log: RequestLog
        self.predictions: list[Prediction]
        self.complete: set[tuple[str, str, str]] = set()
        device = choose_device(settings.device)
        self.meter: EnergyMeter = energy_meter(device.type == "cuda", device.index or 0)

    @property
    def fingerprint(self) -> str:
        """Hash of what is asked."""
        import hashlib

        return hashlib.sha256(repr((self.stage, livequeue.CLASSES, livequeue.RULES)).encode()).hexdigest()

    def begin(self) -> None:
        """Profile, predict, and write both down before the first run."""
        subject = {
            "scale": self.stage.scale,
            "target": {"name": self.engine.name, "device": self.engine.device, "versions": self.engine.versions()},
            "engine": self.options,
            "classes": [asdict(c) for c in livequeue.CLASSES],
            "plan": asdict(self.stage.plan),
            "early_exit": f"half the steps where service starts with over {livequeue.EARLY_EXIT_ABOVE} present",
            "arrivals": "Poisson, drawn beforehand, the same requests under every policy; taken by the clock in "
            "the serving process, so sent_s = scheduled_s",
            "run": [],
        }
        self.metadata = Metadata.begin(self.path, self.stage.name, self.fingerprint, subject, self.threads)
        found = self._profile()
        service = ServiceTime.fitted(found[PACING], found[live.IDLE_GAPS])
        self.metadata.content["profile"] = [
            {"pacing": p, "steps": n, "median_s": s} for p, medians in found.items() for n, s in medians.items()
        ]
        self.metadata.content["service"] = asdict(service)
        plan = self.stage.plan
        self.predictions = livequeue.predict_all(plan.loads, plan.seeds, plan.horizon_s, service)
        self.metadata.content["predictions_sha256"] = livequeue.digest(self.predictions)
        self.metadata.content["prediction"] = [vars(p) for p in self.predictions]
        self.metadata.write()
        self.log = RequestLog(self.path, self.metadata.run_id, self.engine.device)
        self.log.begin()

    def _profile(self) -> dict[str, dict[int, float]]:
        """Measure the service time; its rows go into a CSV of their own, as any profile's."""
        file = rows.RowFile(self.path.with_name(f"{self.stage.name}-profile.csv"), header(["steps"]))
        file.begin()
        who = {"run_id": self.metadata.run_id, "target": self.engine.name, "device": self.engine.device}
        count = 0

        def keep(row: dict[str, Any]) -> None:
            nonlocal count
            count += 1
            about = {"phase": "denoise", "run_order": count, "status": rows.OK, "wall_s": row["latency_s"]}
            file.append({**who, **about, **row, "started_at": rows.timestamp(time.time() - row["latency_s"])})

        return live.profile(self.engine, self.stage.plan, keep)

    def take_up(self) -> None:
        """Go on with an earlier call's predictions and finished runs."""
        self.metadata = Metadata.read(self.path)
        self.metadata.check(self.fingerprint, self.engine.device)
        content = self.metadata.content
        content.setdefault("run", [])
        self.predictions = [Prediction(**{"theory_mean_s": None, **p}) for p in content["prediction"]]
        self.log = RequestLog(self.path, self.metadata.run_id, self.engine.device)
        self.complete = self.log.recover(self.predictions)
        content["run"] = [
            r for r in content["run"] if (r["policy"], str(r["load"]), str(r["seed"])) in self.complete
        ]

    @property
    def service(self) -> ServiceTime:
        """The profiled service time."""
        return ServiceTime(**self.metadata.content["service"])

    def run(self) -> LiveOutcome:
        """Make the runs that are not complete and fit in the time."""
        for prediction in self.predictions:
            if live.run_key(prediction) in self.complete:
                continue
            if self.clock.left_s < self.stage.plan.run_s:
                break
            self._one(prediction)
        self.meter.close()
        done = len(self.complete) == len(self.predictions)
        self.metadata.content["complete"] = done
        self.metadata.write()
        return self._outcome()

    def _one(self, prediction: Prediction) -> None:
        rule, plan, service = live.rule_named(prediction.policy), self.stage.plan, self.service
        arrivals = livequeue.draw(prediction.rate, plan.horizon_s, prediction.seed)
        before = gpu_state()

        def write(records: Sequence[Any]) -> None:
            self.log.append(prediction, [live.row_of(arrivals[r.index], r.index, r, service) for r in records])

        gc.collect()
        gc.freeze()
        gc.disable()
        try:
            mark = self.meter.mark()
            records, tally = live.serve(self.engine, arrivals, rule, service, plan, write)
            joules = self.meter.since(mark)
        finally:
            gc.enable()
            gc.unfreeze()
        missing = [i for i in range(len(arrivals)) if i not in records]
        self.log.append(prediction, [live.row_of(arrivals[i], i, None, service) for i in missing])
        self.complete.add(live.run_key(prediction))
        self._note(prediction, arrivals, records, tally, {"gpus_before": before or None, "energy_j": joules})

    def _note(self, prediction: Prediction, arrivals: Any, records: Any, tally: Any, state: dict[str, Any]) -> None:
        """What the run gave, beside what was predicted, into the metadata."""
        finished = [r for r in records.values() if not r.failure]
        responses = [r.delivered_s - arrivals[r.index].scheduled_s for r in finished]
        measured_s = sum(responses) / len(responses) if responses else None
        replayed_s = live.replayed_mean_s(arrivals, records, live.rule_named(prediction.policy), self.service)
        run = {
            "policy": prediction.policy,
            "load": prediction.load,
            "seed": prediction.seed,
            "requests": len(arrivals),
            "finished": len(finished),
            "predicted_mean_s": prediction.same_arrivals_mean_s,
            "measured_service_replayed_mean_s": replayed_s,
            "measured_mean_s": measured_s,
            "loop": dict(tally),
            "at": rows.timestamp(time.time()),
        }
        state |= {"gpus_after": gpu_state() or None, "energy_source": self.meter.source}
        self.metadata.content["run"].append(run | {k: v for k, v in state.items() if v is not None})
        self.metadata.write()
        if measured_s:
            gap = 100 * (prediction.same_arrivals_mean_s / measured_s - 1)
            text = f"predicted {1e3 * prediction.same_arrivals_mean_s:.2f} ms, measured {1e3 * measured_s:.2f} ms"
            name = f"{prediction.policy} at {prediction.load}, seed {prediction.seed}"
            print(f"  {self.clock.used_s:4.0f} s  {name}: {text} ({gap:+.1f} %)", file=sys.stderr, flush=True)

    def _outcome(self) -> LiveOutcome:
        runs = self.metadata.content["run"]
        gaps = [
            (abs(r["predicted_mean_s"] / r["measured_mean_s"] - 1), r["policy"], r["load"])
            for r in runs
            if r.get("measured_mean_s")
        ]
        worst = ""
        if gaps:
            gap, policy, load = max(gaps)
            middle = sorted(gaps)[len(gaps) // 2][0]
            worst = (
                f"; prediction off by {100 * middle:.1f} % (median), {100 * gap:.1f} % at most ({policy} at {load})"
            )
        left = len(self.predictions) - len(self.complete)
        left_s = left * (self.stage.plan.horizon_s + 0.5)
        return LiveOutcome(
            len(self.predictions), len(self.complete), left_s, sum(r["requests"] for r in runs), worst
        )
