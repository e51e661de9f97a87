import gags.doctor
from gags import cli
from gags.doctor import examine


def test_everything_needed_works_here(capsys):
    checks = {check.name: check for check in examine()}
    assert checks["cpu"].fine
    assert checks["cpu"].needed
    assert {"gags", "cuda", "mobile-sam", "lite", "disk"} <= checks.keys()
    assert cli.main(["doctor"]) == 0
    assert "`gags run` works here" in capsys.readouterr().out


def test_a_broken_rasteriser_is_told_and_fails(monkeypatch, capsys):
    def broken(*inputs, **options):
        raise ImportError("no module named numba")

    monkeypatch.setattr(gags.doctor, "rasterize", broken)
    assert cli.main(["doctor"]) == 1
    out = capsys.readouterr().out
    assert "no module named numba" in out
    assert "cannot work here: cpu" in out
