import sys

import pytest

from torchdropout import cli, study
from torchdropout.study.choosing import Wanted
from torchdropout.study.compressing import Compressed

COST = {"parameters": 300, "nonzero": 300, "flops": 600}


@pytest.fixture
def run(monkeypatch, capsys, tmp_path):
    """The command line in this process: exit code, output, errors."""
    monkeypatch.chdir(tmp_path)

    def with_words(*words):
        monkeypatch.setattr(sys, "argv", ["torchdropout", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        captured = capsys.readouterr()
        return ended.value.code, captured.out, captured.err

    return with_words


@pytest.fixture
def calls(monkeypatch, tmp_path):
    """What the command asks for, in place of the work."""
    found = []

    def compress(folder, out, *, tick, **settings):
        found.append((str(folder), str(out), settings))
        tick("learning what can go", 2)
        tick("writing", 2)
        about = {
            "study": {"data": "digits", "model": "mlp"}, "method": settings["method"], "before": COST,
            "after": {"parameters": 100, "nonzero": 20, "flops": 200}, "bytes": {"before": 1200, "after": 100},
            "judged": {"before": 0.981, "after": 0.9755},
        }  # fmt: skip
        return Compressed(tmp_path / "small", about)

    monkeypatch.setattr(study, "compress", compress)
    return found


def test_what_was_given_is_what_is_done(run, calls):
    code, out, err = run(
        "compress", "runs/a", "--out", "b", "--method", "lognormal", "--target-size", "20k", "--max-accuracy-loss", 1.5,
        "--epochs", 7, "--retrain", 3,
    )  # fmt: skip
    wanted = Wanted(20_000.0, 1.5)
    assert calls == [("runs/a", "b", {"method": "lognormal", "wanted": wanted, "epochs": 7, "retrain": 3})]
    assert code == 0
    assert [line.split() for line in out.splitlines() if "bytes" in line] == [["bytes", "1,200", "100", "12.0"]]
    assert "98.10 %" in out
    assert "97.55 %" in out
    assert "report.html" in out
    assert err.splitlines() == ["learning what can go", "writing"]


def test_what_is_not_given(run, calls):
    assert run("compress", "runs/a", "--out", "b")[0] == 0
    assert calls[0][2] == {"method": "sparse-vd", "wanted": Wanted(), "epochs": None, "retrain": 0}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nowhere", "--out", "b"], "the model of a study must be here, found none"),
        (["nowhere", "--out", "b", "--target-size", "small"], "`target-size` must be bytes, 20k, a part such as 0.05"),
        (["nowhere", "--out", "b", "--max-accuracy-loss", "-1"], "`max-accuracy-loss` must be in [0, 100] points"),
        (["nowhere"], "Missing option '--out'"),
    ],
)
def test_what_is_refused(run, words, message):
    code, out, err = run("compress", *words)
    assert code == 2
    assert message in err
    assert out == ""
