"""Lengths that hang together: a Gaussian copula and pairs that were seen, by theory and by simulation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from qmodel.answer import NotAnalysable
from qmodel.errors import InputError
from qmodel.scenario_file import from_tables, read_scenario
from qmodel.scenario_tables import to_tables
from qmodel.service.from_model import levels, service_law
from qmodel.service.model import ServiceModel
from qmodel.simulation import simulate
from qmodel.theory import analyse
from qmodel.workload import Copula, Deterministic, Geometric, Lognormal, Pairs
from qmodel.workload.joint_lengths import CELLS, LENGTHS, both_below

LAWS = {"input_tokens": Lognormal(1000.0, 2.0), "output_tokens": Geometric(180.0)}
MODEL = ServiceModel.affine(
    {"1": 0.02, "input_tokens": 2e-5, "output_tokens": 0.005}, domain=dict.fromkeys(LENGTHS, (1.0, 1e6))
)


def uniforms(n: int, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.random(n), rng.random(n)


class TestCopula:
    @pytest.mark.parametrize("r", [-0.9, -0.3, 0.2, 0.95])
    def test_the_bivariate_normal(self, r: float) -> None:
        law = stats.multivariate_normal([0, 0], [[1, r], [r, 1]])
        for h, k in [(0, 0), (1, 0), (-1, 0.5), (2, -3), (0, -1), (40, 1), (-40, 1), (1, 40)]:
            assert float(both_below(np.array(float(h)), np.array(float(k)), r)) == pytest.approx(
                law.cdf([h, k]), abs=1e-8
            )

    @pytest.mark.parametrize("r", [-0.7, 0.0, 0.4, 0.9])
    def test_draws_have_their_laws_and_the_rank_correlation(self, r: float) -> None:
        inputs, outputs = Copula(r).at(LAWS, *uniforms(200_000))
        assert stats.spearmanr(inputs, outputs)[0] == pytest.approx(r, abs=0.006)
        for name, drawn in zip(LENGTHS, (inputs, outputs), strict=True):
            assert abs(drawn.mean() - LAWS[name].mean) < 4 * drawn.std() / np.sqrt(drawn.size)
            p = np.array([0.1, 0.5, 0.9, 0.99])
            np.testing.assert_allclose(np.quantile(drawn, p), LAWS[name].quantile(p), rtol=0.05, atol=1)

    @pytest.mark.parametrize("r", [-0.7, 0.6])
    def test_the_points_stand_for_the_draws(self, r: float) -> None:
        copula = Copula(r)
        pairs = np.array(copula.pairs(LAWS, {name: levels(law) for name, law in LAWS.items()}))
        inputs, outputs = copula.at(LAWS, *uniforms(1_000_000))
        assert pairs[:, 2].sum() == pytest.approx(1.0)
        for column, name in enumerate(LENGTHS):
            assert pairs[:, 2] @ pairs[:, column] == pytest.approx(LAWS[name].mean, rel=1e-6)
        product = inputs * outputs
        assert pairs[:, 2] @ (pairs[:, 0] * pairs[:, 1]) == pytest.approx(
            product.mean(), abs=4 * product.std() / 1000 + 0.005 * product.mean()
        )

    def test_no_correlation_is_independence(self) -> None:
        pairs = np.array(Copula(0.0).pairs(LAWS, {name: levels(law) for name, law in LAWS.items()}))
        assert pairs[:, 2] @ (pairs[:, 0] * pairs[:, 1]) == pytest.approx(180_000.0, rel=1e-6)

    @pytest.mark.parametrize("r", [-1.0, 1.0, 2.0, float("nan")])
    def test_what_is_none(self, r: float) -> None:
        with pytest.raises(InputError, match=r"lengths, correlation: .* is no rank correlation"):
            Copula(r)


class TestPairs:
    SEEN = Pairs((100.0, 900.0, 100.0, 400.0), (20.0, 400.0, 20.0, 10.0))

    def test_draws_are_rows(self) -> None:
        inputs, outputs = self.SEEN.at(self.SEEN.laws(), *uniforms(40_000))
        rows, counts = np.unique(np.column_stack((inputs, outputs)), axis=0, return_counts=True)
        assert rows.tolist() == [[100, 20], [400, 10], [900, 400]]
        np.testing.assert_allclose(counts / 40_000, [0.5, 0.25, 0.25], atol=0.01)

    def test_few_pairs_stand_for_themselves(self) -> None:
        assert self.SEEN.pairs(self.SEEN.laws(), {}) == [(100, 20, 0.5), (400, 10, 0.25), (900, 400, 0.25)]

    def test_many_pairs_by_the_means_of_cells(self) -> None:
        inputs, outputs = np.ceil(Copula(0.5).at(LAWS, *uniforms(20_000)))
        seen = Pairs(tuple(inputs.tolist()), tuple(outputs.tolist()))
        pairs = np.array(seen.pairs(seen.laws(), {}))
        assert len(pairs) <= CELLS**2
        i, o, p = pairs.T
        assert p @ i == pytest.approx(inputs.mean(), rel=1e-12)
        for k, m in ((2, 0), (0, 2), (1, 1)):
            assert p @ (i**k * o**m) == pytest.approx((inputs**k * outputs**m).mean(), rel=0.01)

    def test_a_token_limit_cuts_the_pairs(self) -> None:
        laws = self.SEEN.laws() | {"output_tokens": Deterministic(100.0)}
        assert self.SEEN.pairs(laws, {})[-1] == (900, 100, 0.25)

    @pytest.mark.parametrize("pairs", [((), ()), ((1.0,), ()), ((1.0, -1.0), (1.0, 1.0)), ((0.0,), (1.0,))])
    def test_what_is_none(self, pairs: tuple[tuple[float, ...], tuple[float, ...]]) -> None:
        with pytest.raises(InputError, match="lengths"):
            Pairs(*pairs)


def tables(lengths: object, batching: str = "none", **laws: str) -> dict[str, object]:
    system: dict[str, object] = {"batching": batching}
    system |= (
        {}
        if batching == "none"
        else {
            "max_batch": 8 if batching == "continuous" else 1,
            "iteration_time": {"base": 0.01, "per_context_token": 3e-7},
        }
    )
    return {
        "system": system,
        "class": [{"name": "chat", "arrivals": "poisson:0.2", "lengths": lengths, **laws}],
    }


BOTH = {"input_tokens": "lognormal:1000,2", "output_tokens": "geometric:180"}


class TestScenario:
    def write(self, folder: Path, lengths: str, laws: str = "") -> Path:
        MODEL.save(folder / "m.json")
        head = 'system = { service = "m.json" }\n[[class]]\nname = "chat"\narrivals = "poisson:0.5"'
        (folder / "s.toml").write_text("\n".join((head, lengths, laws)))
        return folder / "s.toml"

    def test_theory_and_simulation_agree_on_a_copula(self, tmp_path: Path) -> None:
        """The correlation raises the variance of the service time, and with it the wait."""
        laws = 'input_tokens = "lognormal:20000,2"\noutput_tokens = "geometric:120"'
        alone = analyse(read_scenario(self.write(tmp_path, "", laws)))["all"].mean_wait_s
        scenario = read_scenario(self.write(tmp_path, "lengths = { correlation = 0.7 }", laws))
        theory, found = analyse(scenario)["all"], simulate(scenario, requests=400_000, seed=2)["all"]
        low, high = found.ci95["mean_wait_s"]
        assert theory.mean_wait_s > 1.2 * alone
        assert high - low < 0.1 * theory.mean_wait_s
        assert abs(found.mean_wait_s - theory.mean_wait_s) < high - low

    def test_pairs_of_a_file(self, tmp_path: Path) -> None:
        (tmp_path / "log.csv").write_text("input_tokens,output_tokens\n1000,10\n3000,200\n")
        scenario = read_scenario(self.write(tmp_path, 'lengths = "empirical:log.csv"'))
        assert scenario.served[0].size.atoms() == [(pytest.approx(0.09), 0.5), (pytest.approx(1.08), 0.5)]
        assert scenario.features == {"joint-lengths"}
        again = from_tables(
            {**to_tables(scenario), "system": {"service": str(tmp_path / "m.json")}}, "again", tmp_path
        )
        assert again.fingerprint == scenario.fingerprint

    def test_a_copula_is_read_back(self) -> None:
        scenario = from_tables(tables({"correlation": 0.3}, "continuous", **BOTH), "here", Path())
        assert from_tables(to_tables(scenario), "again", Path()) == scenario

    @pytest.mark.parametrize("batching", ["continuous", "dynamic"])
    def test_engines_see_the_pairs(self, batching: str) -> None:
        """Long prompts with long answers: theory says no; the context read costs more than of the lengths alone."""
        seen = {"input_tokens": [100, 20_000], "output_tokens": [10, 400]}
        together = from_tables(tables(seen, batching), "here", Path())
        apart = {n: {"distribution": "discrete", "values": v, "probabilities": [0.5, 0.5]} for n, v in seen.items()}
        alone = from_tables(tables(None, batching, **apart), "here", Path())
        assert isinstance(analyse(together), NotAnalysable)
        one, other = (simulate(s, requests=20_000, seed=1)["all"] for s in (together, alone))
        assert one.mean_response_s > 1.1 * other.mean_response_s

    @pytest.mark.parametrize(
        ("lengths", "laws", "line"),
        [
            ({"correlation": 1.5}, BOTH, "lengths, correlation: 1.5 is no rank correlation"),
            ({"correlation": 0.5}, {"input_tokens": "geometric:9"}, "output_tokens: is missing"),
            ({}, BOTH, "lengths: is incomplete"),
            ({"correlation": 0.5, "file": "x.csv"}, BOTH, "lengths: is incomplete, or too much"),
            ({"input_tokens": [1], "output_tokens": [2]}, BOTH, "input_tokens: comes beside the pairs"),
            ("gaussian:0.3", BOTH, "lengths: 'gaussian:0.3' is unknown; write empirical:FILE.csv"),
            ("empirical:none.csv", {}, "none.csv: No such file"),
            ({"corelation": 0.5}, BOTH, "corelation"),
        ],
    )
    def test_faults_are_named(self, lengths: object, laws: dict[str, str], line: str) -> None:
        with pytest.raises(InputError) as caught:
            from_tables(tables(lengths, "continuous", **laws), "here", Path())
        assert line in str(caught.value)


def test_other_factors_go_with_the_pairs() -> None:
    model = ServiceModel.affine({"input_tokens": 1.0, "output_tokens": 10.0, "steps": 100.0})
    seen = Pairs((1.0, 2.0), (5.0, 6.0))
    law = service_law(model, seen.laws() | {"steps": Deterministic(1.0)}, "here", seen)
    assert law.atoms() == [(151.0, 0.5), (162.0, 0.5)]
