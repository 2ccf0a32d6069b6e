"""The section on the time of an iteration: the function, its coefficients, every cell."""

from __future__ import annotations

from types import SimpleNamespace

import pandas as pd
import pytest

from qmodel.fit.iteration_times import fit_iteration_time
from qmodel.report.document import Callout, Formula, Paragraph, Table
from qmodel.report.sections import iterations, model
from qmodel.report.sections.ladder import gap_of
from qmodel.report.sections.system import described
from qmodel.study.plan import Setting


def engine(batching="continuous"):
    base = SimpleNamespace(system=SimpleNamespace(batching=batching))
    return SimpleNamespace(base=base, device="a device")


def fitted():
    """10 ms + 1 ms a sequence + 2 us a context token + 0.1 ms a prompt token, without noise."""
    cells = [(n, c, p) for n in (1, 4, 16) for c in (50, 200) for p in (0, 64)]
    rows = pd.DataFrame(cells, columns=["batch_size", "context_tokens", "prefill_tokens"])
    sequences = rows.batch_size + (rows.prefill_tokens > 0)
    tokens = rows.batch_size * (rows.context_tokens + 1)
    return fit_iteration_time(
        rows.assign(latency_s=0.010 + 0.001 * sequences + 2e-6 * tokens + 1e-4 * rows.prefill_tokens)
    )


def packed():
    """The same with 50 ns for each query with each key: of n + p queries, n (c + 1) + p keys."""
    cells = fitted().cells
    n, c, p = (cells[name].to_numpy(float) for name in ("batch_size", "context_tokens", "prefill_tokens"))
    taken = cells.mean_s + 5e-8 * (n + p) * (n * (c + 1) + p)
    return fit_iteration_time(cells[["batch_size", "context_tokens", "prefill_tokens"]].assign(latency_s=taken))


def of(kind, blocks):
    return [block for block in blocks if isinstance(block, kind)]


class TestIterations:
    def test_the_function_has_the_planted_numbers(self):
        (formula,) = of(Formula, iterations.blocks(engine(), fitted()))
        assert formula.latex == r"\frac{t}{\mathrm{ms}} = 10 + 1 \cdot n + 0.002 \cdot c + 0.1 \cdot p"
        assert formula.typst == 't / "ms" = 10 + 1 n + 0.002 c + 0.1 p'

    def test_queries_times_keys_are_told_where_they_cost_time(self):
        blocks = list(iterations.blocks(engine(), packed()))
        (formula,) = of(Formula, blocks)
        assert formula.latex.endswith(r"+ 0.1 \cdot p + 5 \cdot 10^{-5} \cdot q k")
        assert formula.typst.endswith("+ 0.1 p + 5 dot 10^(-5) q k")
        assert "q queries and k keys" in formula.source
        assert of(Table, blocks)[0].rows[-1][0] == "Each pair of a query and a key"
        assert "one attention" in str(of(Callout, blocks)[0])

    def test_they_are_told_to_be_left_out_where_they_do_not(self):
        blocks = list(iterations.blocks(engine(), fitted()))
        assert "was tried and left out" in str(of(Callout, blocks)[0])
        assert len(of(Table, blocks)[0].rows) == 4

    def test_every_cell_is_told(self):
        coefficients, cells = of(Table, iterations.blocks(engine(), fitted()))
        assert len(cells.rows) == 12
        assert coefficients.rows[0][0] == "Each iteration"
        n, c, p, count, measured, found, error = cells.rows[-1]
        assert (n, c, p, count) == (16, 200, 64, 1)
        assert measured == pytest.approx(0.010 + 0.017 + 2e-6 * 16 * 201 + 0.0064)
        assert found == pytest.approx(measured, rel=1e-9) and error == pytest.approx(0.0, abs=1e-9)
        assert of(Callout, iterations.blocks(engine(), fitted()))

    def test_batches_served_as_one(self):
        rows = pd.DataFrame({"batch_size": [1, 2, 8], "latency_s": [0.011, 0.012, 0.018]})
        blocks = list(iterations.blocks(engine("dynamic"), fit_iteration_time(rows)))
        (formula,) = of(Formula, blocks)
        assert formula.latex.endswith(r"= 10 + 1 \cdot n")
        assert len(of(Table, blocks)[0].rows) == 2
        assert "served as one" in str(of(Paragraph, blocks)[0])


class TestModel:
    def test_an_engine_is_no_queue_of_one_at_a_time(self):
        (formula,) = of(Formula, model.batch_blocks(engine()))
        assert formula.latex.startswith(r"\mu(n + 1)")
        said = str(list(model.batch_blocks(engine("dynamic"))))
        assert "bulk service" in said and "M/G/1" not in said


class TestUntoldServices:
    def test_the_loop_and_the_services_are_one_step(self):
        setting = Setting("fcfs", "none", 0.5)
        told = {"live": 1.0, "fitted services": 0.9, "poisson arrivals": 0.95, "theory": 0.97}
        rows = pd.DataFrame(
            [{"rung": rung, "mean_response_s": value, "low": 0.9, "high": 1.1} for rung, value in told.items()]
        )
        gap = gap_of(setting, rows)
        assert gap.steps == pytest.approx({"fitted services": -0.1, "poisson arrivals": 0.05, "theory": 0.02})
        assert gap.dominant == "fitted services"
        assert gap_of(setting, rows[rows.rung != "theory"]) is None


def test_policies_of_a_batching_server():
    assert "taken in order" in described("fcfs", batches=True)
    assert "one after the other" in described("fcfs")
    assert described("srpt", batches=True) == described("srpt")
