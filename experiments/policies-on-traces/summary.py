"""The table and the figure of the comparison: ratios to FCFS with paired intervals, winners, and what they cost."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import stdtrit

METRICS = ("mean_response_s", "p95_response_s", "p95_ttft_s")
GROUPS = ("all", "short", "middle", "long")
COLOURS = {"all": "black", "short": "#0072B2", "middle": "#E69F00", "long": "#CC3311"}
MOST = 60.0
"""Times FCFS's up to which the figure reaches."""
MARKS = {"all": "o", "short": "v", "middle": "s", "long": "^"}


def paired(logs: np.ndarray) -> tuple[float, float, float]:
    """exp of the mean of paired log ratios, with its 95 % t interval."""
    mean = float(logs.mean())
    half = float(stdtrit(logs.size - 1, 0.975)) * float(logs.std(ddof=1)) / math.sqrt(logs.size)
    return math.exp(mean), math.exp(mean - half), math.exp(mean + half)


def logs_of(table: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Logarithm of a metric: rows replications, columns policies."""
    return np.log(table.pivot_table(index="replication", columns="policy", values=metric))


def ratios(table: pd.DataFrame) -> pd.DataFrame:
    """A row a trace, load, group, metric and policy: its ratio to FCFS, and whether the best is told from it."""
    rows = []
    for (trace, load, group), part in table.groupby(["trace", "load", "group"], sort=False):
        for metric in METRICS:
            logs = logs_of(part, metric)
            best = str(logs.mean().idxmin())
            for policy in logs:
                value, low, high = paired((logs[policy] - logs["fcfs"]).to_numpy())
                ahead = paired((logs[policy] - logs[best]).to_numpy())
                rows.append({
                    "trace": trace, "load": load, "group": group, "metric": metric, "policy": policy,
                    "ratio_to_fcfs": value, "low": low, "high": high, "fcfs_s": float(np.exp(logs["fcfs"]).mean()),
                    "is_best": policy == best, "beaten_by_best": bool(ahead[1] > 1.0),
                })  # fmt: skip
    return pd.DataFrame(rows)


def change(ratio: float, low: float, high: float) -> str:
    """In per cent against FCFS; in multiples from three times on."""
    if ratio >= 3.0:
        return f"x{ratio:.3g} [{low:.3g}, {high:.3g}]"
    return f"{100 * (ratio - 1):+.0f} % [{100 * (low - 1):+.0f}, {100 * (high - 1):+.0f}]"


def write_table(
    table: pd.DataFrame, found: pd.DataFrame, notes: list[str], knows: dict[str, str], file: Path
) -> None:
    """Who wins for whom, at which load, at what price."""
    lines = [
        "# Who wins for whom, at which load, at what price",
        "",
        "Change of the mean response time against FCFS, with 95 % paired intervals over "
        f"{table.replication.nunique()} replications. Groups are thirds",
        "of the requests by service time alone. 'Also': policies not told from the winner, which is the best of up",
        "to eighteen (its interval is not widened for that). The price: what the winner does to the group that",
        "fares worst under it, and the share of tokens that were computed again.",
        "",
        "| trace | load | for | FCFS (s) | winner | change | knows | also | worst off | recomputed |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    means = found[found.metric == "mean_response_s"]
    for (trace, load), part in means.groupby(["trace", "load"], sort=False):
        for group in GROUPS:
            lines.append(_row(str(trace), float(load), group, part, table, knows))
    lines += ["", "Without knowledge of sizes, predictions or groups:", ""]
    lines += ["| trace | load | for | winner | change | also |", "|---|---|---|---|---|---|"]
    for (trace, load), part in means[~means.policy.isin(knows)].groupby(["trace", "load"], sort=False):
        for group in ("all", "short", "long"):
            lines.append(_blind_row(f"{trace} | {load:g} | {group}", part[part.group == group]))
    lines += ["", *(f"- {note}" for note in notes), ""]
    file.write_text("\n".join(lines), encoding="utf-8")


def _row(
    trace: str, load: float, group: str, part: pd.DataFrame, table: pd.DataFrame, knows: dict[str, str]
) -> str:
    own = part[part.group == group]
    best = own[own.is_best].iloc[0]
    also = list(own[~own.beaten_by_best & ~own.is_best].policy)
    others = part[(part.policy == best.policy) & (part.group != "all")]
    worst = others.loc[others.ratio_to_fcfs.idxmax()]
    runs = table[
        (table.trace == trace) & (table.load == load) & (table.policy == best.policy) & (table.group == "all")
    ]
    price = f"{worst.group} {change(worst.ratio_to_fcfs, worst.low, worst.high)}"
    gain = change(best.ratio_to_fcfs, best.low, best.high)
    cells = [
        trace, f"{load:g}", group, f"{best.fcfs_s:.3g}", best.policy, gain, knows.get(best.policy, "nothing"),
        ", ".join(also) or "-", price, f"{runs.recomputed_share.mean():.1%}",
    ]  # fmt: skip
    return "| " + " | ".join(cells) + " |"


def _blind_row(head: str, own: pd.DataFrame) -> str:
    best = own.loc[own.ratio_to_fcfs.idxmin()]
    also = [row.policy for row in own.itertuples() if row.policy != best.policy and row.low <= best.high]
    gain = change(best.ratio_to_fcfs, best.low, best.high)
    return f"| {head} | {best.policy} | {gain} | {', '.join(also) or '-'} |"


def draw(found: pd.DataFrame, file: Path) -> None:
    """A panel a trace and load: each policy's mean response over FCFS's, for all and for each group.

    Policies are in order of their mean over all panels. What lies beyond `MOST` is written at the edge.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    means = found[(found.metric == "mean_response_s") & (found.policy != "fcfs")]
    traces, loads = list(dict.fromkeys(means.trace)), sorted(set(means.load))
    overall = np.log(means[means.group == "all"].set_index("policy").ratio_to_fcfs).groupby(level=0).mean()
    policies = list(overall.sort_values(ascending=False).index)
    figure, panels = pyplot.subplots(
        len(traces), len(loads), figsize=(13, 10), sharex="row", sharey=True, layout="constrained"
    )
    for row, trace in zip(panels, traces, strict=True):
        for panel, load in zip(row, loads, strict=True):
            _panel(panel, means[(means.trace == trace) & (means.load == load)], policies)
            panel.set_title(f"{trace}, load {load:g}", fontsize=10)
        row[0].set_ylim(-0.6, len(policies) - 0.4)
        part = means[means.trace == trace]
        row[0].set_xlim(0.8 * part.low.min(), 1.3 * min(part.high.max(), MOST))
    handles, labels = panels[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=4, frameon=False, title="requests")
    figure.supxlabel(
        "mean response time over that under FCFS (95 % paired intervals, logarithmic); left is better", fontsize=11
    )
    figure.savefig(file, dpi=110)


def _panel(panel: Any, part: pd.DataFrame, policies: list[str]) -> None:
    beyond = set(part[(part.group == "all") & (part.ratio_to_fcfs > MOST)].policy)
    for shift, group in zip((0.24, 0.08, -0.08, -0.24), GROUPS, strict=True):
        own = part[(part.group == group) & ~part.policy.isin(beyond)]
        at = np.array([policies.index(policy) for policy in own.policy]) + shift
        ends = np.abs(own[["low", "high"]].to_numpy().T - own.ratio_to_fcfs.to_numpy())
        panel.errorbar(
            own.ratio_to_fcfs, at, xerr=ends, fmt=MARKS[group], ms=4, lw=1, color=COLOURS[group], label=group,
            ls="none",
        )  # fmt: skip
    for one in part[(part.group == "all") & part.policy.isin(beyond)].itertuples():
        text = f"x{float(f'{one.ratio_to_fcfs:.2g}'):,.0f} \u2192"
        panel.text(
            MOST, policies.index(one.policy), text, ha="right", va="center", fontsize=9, color=COLOURS["all"]
        )
    panel.axvline(1.0, color="grey", lw=0.8)
    panel.set_xscale("log")
    panel.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    panel.set_yticks(range(len(policies)), policies)
    panel.grid(axis="x", alpha=0.3)
    for y in range(len(policies)):
        panel.axhline(y + 0.5, color="0.92", lw=0.6)
