"""Formulas as objects: numbers, print, and that what is printed is what is computed."""

import pytest
import sympy

from qmodel.theory import formulas
from qmodel.theory.formulas import ALL, Formula
from qmodel.theory.typst import from_latex

CLOSED = {name: entry for name, entry in ALL.items() if isinstance(entry, Formula)}


@pytest.mark.parametrize("name", CLOSED)
def test_expression_is_the_function(name):
    formula = CLOSED[name]
    values = [0.31 + 0.17 * i for i in range(len(formula.symbols))]
    symbols = {sympy.Symbol(symbol): value for symbol, value in zip(formula.symbols, values, strict=True)}
    assert float(formula.expression.subs(symbols)) == pytest.approx(formula(*values), rel=1e-14)


@pytest.mark.parametrize("name", ALL)
def test_every_entry_has_source_and_prints(name):
    entry = ALL[name]
    assert entry.name and entry.source
    assert entry.latex.count("{") == entry.latex.count("}") and "=" in entry.latex
    assert "\\" not in entry.typst


def test_latex_of_pollaczek_khinchine():
    assert formulas.FCFS_MEAN.latex == r"E[W] = \frac{E[S^2] \lambda}{2 - 2 \rho}"
    assert formulas.COBHAM.latex == r"E[W_k] = \frac{W_0}{\left(1 - \sigma_k\right) \left(1 - \sigma_{k-1}\right)}"


@pytest.mark.parametrize(
    ("latex", "typst"),
    [
        (r"\frac{a}{b_{12}}", "frac( a , b _( 12 ) )"),
        (r"x^2", "x ^( 2 )"),
        (r"\sqrt{\lambda}", "sqrt( lambda )"),
        (r"\tilde{S}_k(\theta)", "tilde( S ) _( k ) ( theta )"),
        (r"\mathrm{min}(a, {b})", '"min" ( a , b )'),
        (r"a \le b, \int_0^x", "a <= b , integral _( 0 ) ^( x )"),
    ],
)
def test_typst_by_hand(latex, typst):
    assert from_latex(latex) == typst


def test_typst_compiles(tmp_path):
    typst = pytest.importorskip("typst")
    source = tmp_path / "formulas.typ"
    source.write_text("\n\n".join(f"$ {entry.typst} $" for entry in ALL.values()), encoding="utf-8")
    pdf = typst.compile(str(source))
    assert pdf.startswith(b"%PDF")
