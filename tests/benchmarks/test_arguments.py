"""Numbers on the command lines of the benchmarks."""

import pytest

from benchmarks import inference, streaming, training


@pytest.mark.parametrize("benchmark", [inference, streaming, training])
@pytest.mark.parametrize("number", ["0", "-1", "two", "9" * 5000])
def test_a_number_that_is_none(monkeypatch, capsys, benchmark, number):
    option = "--batches" if benchmark is streaming else "--rounds"
    monkeypatch.setattr("sys.argv", ["benchmark", option, number])
    with pytest.raises(SystemExit) as end:
        benchmark.main()
    assert end.value.code == 2
    told = capsys.readouterr().err.splitlines()[-1]
    assert option in told
    assert "is no whole number from 1 to 99999" in told or "expected one argument" in told
