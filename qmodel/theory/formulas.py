"""The closed forms, each once: a function of numbers that is also a function of symbols.

Calling a formula with floats computes it; `.latex` and `.typst` print the same function applied to symbols.
sympy is imported only then. Relations that are not closed forms (transforms, chains) carry their print only.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any


@dataclass(frozen=True)
class Formula:
    """A closed form `left = function(symbols)`: name, source, and the symbols in LaTeX, in order of arguments.

    >>> POLLACZEK_KHINCHINE(0.5, 2.0, 0.5)
    1.0
    >>> PROCESSOR_SHARING.latex
    'E[T_k] = \\\\frac{E[D_k]}{1 - \\\\rho}'
    """

    name: str
    source: str
    left: str
    symbols: tuple[str, ...]
    function: Callable[..., Any]

    def __call__(self, *values: float) -> float:
        return self.function(*values)

    @cached_property
    def expression(self) -> Any:
        """The right-hand side as a sympy expression."""
        import sympy

        return self.function(*(sympy.Symbol(symbol) for symbol in self.symbols))

    @property
    def latex(self) -> str:
        """The equation in LaTeX."""
        import sympy

        names = {sympy.Symbol(symbol): symbol for symbol in self.symbols}
        return f"{self.left} = {sympy.latex(self.expression, symbol_names=names)}"

    @property
    def typst(self) -> str:
        """The equation in Typst's mathematics."""
        from qmodel.theory.typst import from_latex

        return from_latex(self.latex)


@dataclass(frozen=True)
class Relation:
    """An equation that is solved or inverted numerically rather than evaluated: print and source."""

    name: str
    source: str
    latex: str

    @property
    def typst(self) -> str:
        """The equation in Typst's mathematics."""
        from qmodel.theory.typst import from_latex

        return from_latex(self.latex)


def _exp(value: Any) -> Any:
    """The exponential of a number or of an expression."""
    if isinstance(value, int | float):
        return math.exp(value)
    import sympy

    return sympy.exp(value)


POLLACZEK_KHINCHINE = Formula(
    "Pollaczek-Khinchine mean wait",
    "Pollaczek 1930; Khinchine 1932; Kleinrock 1975, section 5.7",
    "E[W]",
    (r"\lambda", "E[S^2]", r"\rho"),
    lambda rate, second, load: rate * second / (2 * (1 - load)),
)
COBHAM = Formula(
    "Non-preemptive priority mean wait",
    "Cobham 1954",
    "E[W_k]",
    ("W_0", r"\sigma_{k-1}", r"\sigma_k"),
    lambda residual, above, upto: residual / ((1 - above) * (1 - upto)),
)
PREEMPTIVE_RESUME = Formula(
    "Preemptive-resume priority mean response",
    "Gaver 1962; Conway, Maxwell & Miller 1967, section 8-7",
    "E[T_k]",
    ("E[D_k]", "W_{0,k}", r"\sigma_{k-1}", r"\sigma_k"),
    lambda own, residual, above, upto: own / (1 - above) + residual / ((1 - above) * (1 - upto)),
)
PROCESSOR_SHARING = Formula(
    "Processor sharing mean response",
    "Kleinrock 1967; Sakata, Noguchi & Oizumi 1971",
    "E[T_k]",
    ("E[D_k]", r"\rho"),
    lambda own, load: own / (1 - load),
)
KINGMAN = Formula(
    "Kingman's upper bound on the mean wait of GI/G/1",
    "Kingman 1962",
    r"\max E[W]",
    (r"\lambda", r"\sigma_U^2", r"\sigma_S^2", r"\rho"),
    lambda rate, gaps, sizes, load: rate * (gaps + sizes) / (2 * (1 - load)),
)
MARCHAL = Formula(
    "Marchal's mean wait of GI/G/1, for gaps of scv from 1",
    "Marchal 1976",
    "E[W]",
    (r"\lambda", "c_U^2", "c_S^2", r"\rho"),
    lambda rate, gaps, sizes, load: (
        load**2 * (1 + sizes) / (1 + load**2 * sizes) * (gaps + load**2 * sizes) / (2 * rate * (1 - load))
    ),
)
KRAEMER = Formula(
    "Kraemer & Langenbach-Belz mean wait of GI/G/1, for gaps of scv up to 1",
    "Kraemer & Langenbach-Belz 1976",
    "E[W]",
    ("E[S]", "c_U^2", "c_S^2", r"\rho"),
    lambda mean, gaps, sizes, load: (
        load
        * mean
        * (gaps + sizes)
        / (2 * (1 - load))
        * _exp(-2 * (1 - load) * (1 - gaps) ** 2 / (3 * load * (gaps + sizes)))
    ),
)
VACATIONS = Formula(
    "Mean wait with multiple vacations",
    "Levy & Yechiali 1975; Fuhrmann & Cooper 1985",
    "E[W]",
    (r"\lambda", "E[S^2]", r"\rho", "E[V]", "E[V^2]"),
    lambda rate, second, load, mean, square: rate * second / (2 * (1 - load)) + square / (2 * mean),
)
SETUP = Formula(
    "Mean wait with a setup time D after each idle spell",
    "Welch 1964; Takagi 1991, section 2.2",
    "E[W]",
    (r"\lambda", "E[S^2]", r"\rho", "E[D]", "E[D^2]"),
    lambda rate, second, load, mean, square: (
        rate * second / (2 * (1 - load)) + (2 * mean + rate * square) / (2 * (1 + rate * mean))
    ),
)

FCFS_MEAN = POLLACZEK_KHINCHINE
FCFS_TRANSFORM = Relation(
    "Pollaczek-Khinchine transform of the wait",
    "Pollaczek 1930; Khinchine 1932; Kleinrock 1975, section 5.7",
    r"\tilde{W}(s) = \frac{(1 - \rho) s}{s - \lambda (1 - \tilde{S}(s))}",
)
BUSY_PERIOD = Relation(
    "Delay cycle: a time X prolonged by later arrivals has the transform of X at theta",
    "Takacs 1962; Conway, Maxwell & Miller 1967, section 8-4",
    r"\theta = s + \lambda (1 - \tilde{S}(\theta))",
)
COBHAM_TRANSFORM = Relation(
    "Non-preemptive priority transform of the wait; H higher, L lower priorities",
    "Takacs 1964; Conway, Maxwell & Miller 1967, section 8-6",
    r"\tilde{W}_k(s) = \frac{(1 - \rho) \theta + \lambda_L (1 - \tilde{S}_L(\theta))}"
    r"{s - \lambda_k (1 - \tilde{S}_k(\theta))}",
)
PREEMPTIVE_TRANSFORM = Relation(
    "Preemptive-resume priority transform of the response",
    "Conway, Maxwell & Miller 1967, section 8-7",
    r"\tilde{T}_k(s) = \frac{(1 - \sigma_k) \theta}{s - \lambda_k (1 - \tilde{S}_k(\theta))} \tilde{D}_k(\theta)",
)
MODULATED_WORK = Relation(
    "Work in a queue driven by a Markov chain: speeds C, rates D_0 without and D_k with an arrival of stream k",
    "Takine & Hasegawa 1994; Asmussen 2003, chapter XI",
    r"v(s) (s C + D_0 + \sum_k D_k \tilde{S}_k(s)) = s u",
)
MARKOV_ARRIVALS_WAIT = Relation(
    "MAP/G/1: transform of the wait of class k",
    "Ramaswami 1980; Lucantoni 1991",
    r"\tilde{W}_k(s) = v(s) D_k 1 / \lambda_k",
)
WIENER_HOPF = Relation(
    "GI/G/1: transform of the wait from the factors of 1 - U(-s) S(s)",
    "Pollaczek 1952; Smith 1953",
    r"1 - \tilde{U}(-s) \tilde{S}(s) = P(s) N(s), \quad \tilde{W}(s) = \frac{P(0)}{P(s)}",
)
VACATION_TRANSFORM = Relation(
    "Multiple vacations: the wait is that of M/G/1 and a vacation's residual, independent",
    "Fuhrmann & Cooper 1985",
    r"\tilde{W}(s) = \frac{(1 - \rho) s}{s - \lambda (1 - \tilde{S}(s))} \frac{1 - \tilde{V}(s)}{s E[V]}",
)
SETUP_TRANSFORM = Relation(
    "Setup: transform of the wait",
    "Welch 1964; Takagi 1991, section 2.2",
    r"\tilde{W}(s) = \frac{1 - \rho}{1 + \lambda E[D]} "
    r"\frac{\lambda - (\lambda - s) \tilde{D}(s)}{s - \lambda (1 - \tilde{S}(s))}",
)
LEVEL_CROSSING = Relation(
    "Impatience: density f of the wait offered, patience longer than x with probability G(x)",
    "Baccelli & Hebuterne 1981; Brill & Posner 1977",
    r"f(x) = \lambda p_0 P(S > x) + \lambda \int_0^x G(u) f(u) P(S > x - u) du",
)
FINITE_BUFFER = Relation(
    "M/G/1/K: numbers left at departures, and the share rejected",
    "Keilson 1966; Takagi 1993",
    r"\pi_j = \pi_0 a_j + \sum_{n=1}^{j+1} \pi_n a_{j-n+1}, \quad P_K = 1 - \frac{1}{\pi_0 + \rho}",
)
THRESHOLD_CHAIN = Relation(
    "Queue threshold K, FCFS: numbers left at departures; a_j^n = P(j arrivals in a service begun with n present)",
    "Neuts 1989; Federgruen & Tijms 1980",
    r"\pi_j = \pi_0 a_j^1 + \sum_{n=1}^{j+1} \pi_n a_{j-n+1}^n, \quad E[T] = \frac{1}{\lambda} \sum_{n} n \pi_n",
)
THRESHOLD_RESPONSE = Relation(
    "Queue threshold, FCFS: response of a class, p the share of services in the long-queue mode",
    "Neuts 1989; Federgruen & Tijms 1980",
    r"E[T_k] = E[W] + (1 - p) E[D_k] + p E[D_k^{\prime}], \quad p = \sum_{n > K} \pi_n",
)
CLUSTERED_SHARING = Relation(
    "Continuous batching: numbers in the engine; n leave at rate mu(n), and K come with one that opens a pause",
    "Cohen 1979; Dwass 1969",
    r"\mu(n + 1) \pi_{n+1} = \lambda \sum_{j=0}^{n} \pi_j P(K > n - j)",
)
SJF = Relation(
    "Shortest job first",
    "Phipps 1956",
    r"E[T(x)] = \frac{\lambda E[S^2]}{2 (1 - \rho(x^-)) (1 - \rho(x))} + x",
)
PSJF = Relation(
    "Preemptive shortest job first",
    "Harchol-Balter 2013, section 32.4",
    r"E[T(x)] = \frac{\lambda E[S^2; S \le x]}{2 (1 - \rho(x^-)) (1 - \rho(x))} + \frac{x}{1 - \rho(x^-)}",
)
SRPT = Relation(
    "Shortest remaining processing time",
    "Schrage & Miller 1966",
    r"E[T(x)] = \frac{\lambda E[\min(S, x)^2]}{2 (1 - \rho(x^-)) (1 - \rho(x))} + \int_0^x \frac{dt}{1 - \rho(t)}",
)
LAS = Relation(
    "Least attained service (foreground-background)",
    "Schrage 1967; Kleinrock 1976, section 4.7",
    r"E[T(x)] = \frac{\lambda E[\min(S, x)^2]}{2 (1 - \rho_x)^2} + \frac{x}{1 - \rho_x}",
)
MLFQ = Relation(
    "Multilevel feedback, FCFS inside a level from a to b",
    "Kleinrock 1976, section 4.7",
    r"E[T(x)] = \frac{\lambda E[\min(S, b)^2]}{2 (1 - \rho_a) (1 - \rho_b)} + \frac{x}{1 - \rho_a}",
)

ERLANG_DELAY = Formula(
    "M/M/k mean wait; C is Erlang's probability of waiting",
    "Erlang 1917",
    "E[W]",
    ("C", "E[S]", "k", "a"),
    lambda waiting, mean, servers, offered: waiting * mean / (servers - offered),
)
ALLEN_CUNNEEN = Formula(
    "GI/G/k mean wait by two moments",
    "Allen 1990, section 5.3.3; Whitt 1993",
    "E[W]",
    ("c_a^2", "c_s^2", "E[W_{M}]"),
    lambda arrivals, services, memoryless: (arrivals + services) / 2 * memoryless,
)
PAUSES = Formula(
    "Mean response with pauses: v visits of mean T_v, v - 1 pauses of mean P",
    "Baskett, Chandy, Muntz & Palacios 1975",
    "E[T]",
    ("v", "E[T_v]", "E[P]"),
    lambda visits, visit, pause: visits * visit + (visits - 1) * pause,
)
CROMMELIN = Relation(
    "M/D/k transform of the wait; z_n the roots of z^k = exp(a (z - 1)) inside the unit disc, z = 1 - s / lambda",
    "Crommelin 1932; Franx 2001",
    r"\tilde{W}(s) = \frac{k - a}{\prod_n (1 - z_n)} \frac{(z - 1) \prod_n (z - z_n)}{z^k - e^{-s D}}",
)
MATRIX_GEOMETRIC = Relation(
    "M/PH/k: levels beyond k, and the mean wait",
    "Neuts 1981",
    r"\pi_{k+j} = \pi_k R^j, \quad E[W] = \frac{1}{\lambda} \pi_k R (I - R)^{-2} 1",
)
ROUND_ROBIN = Relation(
    "E_k/G/1 transform of the wait; s_i the roots of f with positive real part",
    "Smith 1953; Kleinrock 1975, section 8.2",
    r"\tilde{W}(s) = \frac{(E[S] - k / \nu) s \prod_i (1 - s / s_i)}{f(s)}, "
    r"\quad f(s) = (1 - s / \nu)^k - \tilde{S}(s)",
)
SHORTEST_QUEUE = Relation(
    "Shortest of d queues, mean field: share of servers with n or more requests",
    "Vvedenskaya, Dobrushin & Karpelevich 1996; Mitzenmacher 2001",
    r"s_n = \rho^{(d^n - 1) / (d - 1)}, \quad E[T] = \frac{E[S]}{\rho} \sum_{n} s_n",
)
MEAN_VALUE_ANALYSIS = Relation(
    "Mean value analysis: time at a queue, throughput, number; Z the delays, D the demands",
    "Reiser & Lavenberg 1980",
    r"T_{k}(n) = D_k (1 + Q_k(n - 1)), \quad X(n) = \frac{n}{Z + \sum_k T_k(n)}, \quad Q_k(n) = X(n) T_k(n)",
)
CHARACTERISTIC_TIME = Relation(
    "Hit ratio of an LRU cache of C items, q_i the popularities",
    "Che, Tung & Wang 2002",
    r"\sum_i (1 - e^{-q_i t_C}) = C, \quad h = \sum_i q_i (1 - e^{-q_i t_C})",
)

ALL: dict[str, Formula | Relation] = {
    name: entry for name, entry in globals().items() if isinstance(entry, Formula | Relation)
}
"""Every formula by its name here."""
