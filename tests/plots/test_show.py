"""The command: what it writes, what it refuses, and in which words."""

import subprocess
import sys

import numpy as np
import pytest

from torchdropout import catalog, cli, plots

SUFFIXES = {"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF"}


@pytest.fixture
def run(monkeypatch, capsys, tmp_path):
    """The command in this process: exit code, output, errors."""
    monkeypatch.chdir(tmp_path)

    def with_words(*words):
        monkeypatch.setattr(sys, "argv", ["torchdropout", "show", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        captured = capsys.readouterr()
        return ended.value.code, captured.out, captured.err

    return with_words


def test_a_method_is_drawn_into_a_file_of_its_name(run, tmp_path):
    assert run("word-dropout") == (0, "figure: word-dropout.png\n", "")
    assert (tmp_path / "word-dropout.png").read_bytes().startswith(SUFFIXES["png"])


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_the_ending_says_the_format(run, tmp_path, suffix):
    assert run("layer-drop", "-o", f"drawn.{suffix}") == (0, f"figure: drawn.{suffix}\n", "")
    assert (tmp_path / f"drawn.{suffix}").read_bytes().startswith(SUFFIXES[suffix])


def test_the_strength_is_the_pictures(run, tmp_path):
    assert run("drop-path", "--p", 0.25, "-o", "one.png")[0] == 0
    assert plots.draw("drop-path", tmp_path / "two.png", 0.25).read_bytes() == (tmp_path / "one.png").read_bytes()
    assert plots.draw("drop-path", tmp_path / "three.png").read_bytes() != (tmp_path / "one.png").read_bytes()


def test_all_is_one_page(run, tmp_path):
    assert run("all", "-o", "g.png") == (0, "figure: g.png\n", "")
    assert 2e5 < (tmp_path / "g.png").stat().st_size < 1.5e6


def test_activations_are_still_drawn(run, tmp_path):
    assert run("activations") == (0, "figure: activations.png\n", "")
    assert (tmp_path / "activations.png").exists()


REFUSED = {
    "unknown": (["dropuot"], "show: no method is called 'dropuot'. Did you mean 'dropout'? Known: dropout, "),
    "nearly activations": (["activation"], "show: nothing is called 'activation'. Did you mean 'activations'?"),
    "no p": (["cutout", "--p", "0.3"], "show: 'cutout' has no `p`: its strength is `size`, which --strength sets."),
    "no strength": (
        ["log-normal", "--p", "0.3"],
        "show: 'log-normal' has no strength: it learns how much noise there is.",
    ),
    "both": (["dropout", "--p", "0.3", "--strength", "0.2"], "show: --p and --strength cannot both be given."),
    "all has none": (["all", "--p", "0.3"], "show: 'all' takes neither --p nor --strength."),
    "p too large": (["drop-path", "--p", "1.5"], "show: DropPath: `p` must be in [0, 1], got 1.5."),
    "p of a normal": (["gaussian", "--p", "1"], "show: GaussianDropout: `p` must be in [0, 1), got 1.0."),
    "p of type B": (["variational", "--p", "0.9"], "show: VariationalLinear: `p` must be in (0, 0.5], got 0.9."),
    "no folder": (
        ["dropout", "-o", "no/x.png"],
        "show: no/x.png: the picture must be a file that can be written, found: No",
    ),
    "no folder for all": (
        ["activations", "-o", "no/x.png"],
        "show: no/x.png: the picture must be a file that can be writt",
    ),
    "ending": (["dropout", "-o", "x.jpg"], "show: the picture's file must end with .png, .svg or .pdf, got 'x.jpg'."),
}


@pytest.mark.parametrize(("words", "sentence"), REFUSED.values(), ids=REFUSED.keys())
def test_bad_input_is_one_line_and_ends_with_2(run, words, sentence):
    code, out, errors = run(*words)
    assert (code, out) == (2, "")
    assert errors.startswith(f"error: {sentence}")
    assert errors.count("\n") == 1


@pytest.mark.parametrize("words", [[], ["dropout", "--p", "half"], ["dropout", "--bogus"]])
def test_what_cannot_be_parsed_ends_with_2(run, words):
    code, _, errors = run(*words)
    assert code == 2
    assert "Traceback" not in errors


WITHOUT_MATPLOTLIB = """
import sys

class Missing:
    @staticmethod
    def find_spec(name, *_):
        if name == "matplotlib":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Missing)
sys.argv = ["torchdropout", "show", "dropout"]
from torchdropout import cli
cli.main()
"""


def test_without_matplotlib_the_extra_is_named():
    done = subprocess.run([sys.executable, "-c", WITHOUT_MATPLOTLIB], check=False, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr == "error: the command line needs matplotlib: pip install 'torchdropout[plots]'\n"


LEARNED = ["variational-dropout", "variational", "variational1d", "variational2d"]
LEARNED += ["concrete", "concrete1d", "concrete2d"]
OUT_OF_RANGE = {(name, p) for name in LEARNED for p in (0.0, 1.0)}
OUT_OF_RANGE |= {(name, 1.0) for name in ("gaussian", "fast-dropout", "patch-dropout")}


@pytest.mark.parametrize("p", [0.0, 1.0])
@pytest.mark.parametrize("name", [row.name for row in catalog.METHODS if row.argument == "p"])
def test_the_ends_of_the_range_are_drawn_or_refused_in_a_sentence(name, p):
    if (name, p) in OUT_OF_RANGE:
        with pytest.raises(ValueError, match="`p` must be in"):
            plots.picture(name, p)
        return
    for panel in plots.picture(name, p).panels:
        for values in panel.data.values():
            assert np.isfinite(values).all()
