import pytest

from qmodel.service.units import Unit, stem, unit_of


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (0.0, "0 s"),
        (1.5, "1.5 s"),
        (0.1, "0.1 s"),
        (0.05, "50 ms"),
        (1e-4, "0.1 ms"),
        (2e-7, "0.2 us"),
        (3e-12, "3 ps"),
        (4e-14, "0.04 ps"),
    ],
)
def test_seconds(value, words):
    assert Unit("s").words(value) == words


def test_other_units():
    assert unit_of("energy_j").words(0.0123) == "12.3 mJ"
    assert unit_of("peak_memory_bytes").words(0.5) == "0.5 B"
    assert unit_of("score").words(0.002) == "0.002"
    assert unit_of("score").words(1e-9) == "1e-09"
    assert stem("power_w") == "power"
    assert stem("score") == "score"


def test_latex():
    assert Unit("s").latex(2e-6) == r"2\,\mathrm{\mu s}"
    assert Unit("s").latex(0.25) == r"0.25\,\mathrm{s}"
    assert Unit("").latex(12345678.0) == "1.235e+07"
