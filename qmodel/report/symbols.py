"""Symbols of the field by the name that prose uses between dollars: one entry holds both notations."""

from __future__ import annotations

from qmodel.errors import nearest
from qmodel.report.inline import Math

SYMBOLS: dict[str, Math] = {
    "lambda": Math(r"\lambda", "lambda"),
    "lambda_k": Math(r"\lambda_k", "lambda_k"),
    "mu": Math(r"\mu", "mu"),
    "rho": Math(r"\rho", "rho"),
    "rho_k": Math(r"\rho_k", "rho_k"),
    "sigma_k": Math(r"\sigma_k", "sigma_k"),
    "k": Math("k", "k"),
    "n": Math("n", "n"),
    "p": Math("p", "p"),
    "x": Math("x", "x"),
    "j": Math("j", "j"),
    "L": Math("L", "L"),
    "theta": Math(r"\theta", "theta"),
    "pi_n": Math(r"\pi_n", "pi_n"),
    "a_jn": Math("a_j^n", "a_j^n"),
    "r": Math("r", "r"),
    "F": Math("F", "F"),
    "K": Math("K", "K"),
    "S": Math("S", "S"),
    "S_k": Math("S_k", "S_k"),
    "T": Math("T", "T"),
    "W": Math("W", "W"),
    "E[S]": Math(r"\mathrm{E}[S]", "upright(E)[S]"),
    "E[S^2]": Math(r"\mathrm{E}[S^2]", "upright(E)[S^2]"),
    "E[T]": Math(r"\mathrm{E}[T]", "upright(E)[T]"),
    "E[T_k]": Math(r"\mathrm{E}[T_k]", "upright(E)[T_k]"),
    "E[W]": Math(r"\mathrm{E}[W]", "upright(E)[W]"),
    "E[W_k]": Math(r"\mathrm{E}[W_k]", "upright(E)[W_k]"),
    "D_k": Math("D_k", "D_k"),
    "W_0": Math("W_0", "W_0"),
    "W_0k": Math("W_{0,k}", "W_(0,k)"),
    "W_0 =": Math(
        r"W_0 = \textstyle\sum_i \lambda_i\,\mathrm{E}[S_i^2]/2",
        "W_0 = sum_i lambda_i thin upright(E)[S_i^2] slash 2",
    ),
    "rho =": Math(r"\rho = \lambda\,\mathrm{E}[S]", "rho = lambda thin upright(E)[S]"),
    "C_S^2": Math(r"C_S^2", "C_S^2"),
    "C_A^2": Math(r"C_A^2", "C_A^2"),
    "R^2": Math("R^2", "R^2"),
    "2^k r": Math(r"2^k r", "2^k r"),
    "M/G/1": Math(r"\mathrm{M/G/1}", 'upright("M/G/1")'),
}


def symbol(name: str) -> Math:
    """The symbol of that name; ValueError with the nearest known one otherwise.

    >>> symbol("rho").latex
    '\\\\rho'
    """
    if name not in SYMBOLS:
        raise ValueError(f"${name}$ is no known symbol; {nearest(name, list(SYMBOLS))}")
    return SYMBOLS[name]
