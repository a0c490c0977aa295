import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from torchdropout import catalog, cli, study
from torchdropout._version import __version__


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


SMALL = ("--folds", 2, "--seeds", 1, "--epochs", 1, "--jobs", 1)

REFUSED = {
    "unknown data": (["digit"], "Did you mean 'digits'"),
    "unknown method": (["--methods", "none,dropuot"], "Did you mean 'dropout'"),
    "method without a place": (["--methods", "dropout2d"], "cannot be placed in model 'mlp'"),
    "p too large": (["--p", "1.5"], "`p` must be in [0, 1], got 1.5"),
    "p not a number": (["--p", "nan"], "`p` must be in [0, 1], got nan"),
    "p not numeric": (["--p", "0.1,half"], "`p` must be numbers separated by commas, got '0.1,half'"),
    "one fold": (["--folds", "1"], "`folds` must be at least 2, got 1"),
    "no methods": (["--methods", ","], "`methods` must name at least one method"),
    "missing files": (["mnist", "--data-dir", "nowhere"], "nowhere: there must be a file train-images-idx3-ubyte"),
}


@pytest.mark.parametrize(("words", "sentence"), REFUSED.values(), ids=REFUSED.keys())
def test_bad_input_is_one_line_and_ends_with_2(run, words, sentence):
    code, out, errors = run("compare", *words)
    assert (code, out) == (2, "")
    assert errors.startswith("error: ")
    assert errors.count("\n") == 1
    assert sentence in errors


@pytest.mark.parametrize("words", [["--folds", "x"], ["--bogus"], ["--lr", "fast"]])
def test_what_cannot_be_parsed_ends_with_2(run, words):
    code, _, errors = run("compare", "digits", *words)
    assert code == 2
    assert "Traceback" not in errors
    assert words[0] in errors


def test_compare_prints_the_table_and_where_the_report_is(run, tmp_path):
    code, out, errors = run("compare", "digits", "--methods", "none,dropout", "--out", "there", *SMALL)
    assert code == 0
    assert [line.split()[0] for line in out.splitlines() if "±" in line and "%" not in line][:2] == ["none", "dropout"]
    assert "Differences not tested." in out
    assert out.splitlines()[-1] == "report: there/report.html"
    assert "4/4 dropout p=0.5, fold 1, seed 0: training" in errors
    assert len(study.read(tmp_path / "there").results) == 4


def test_the_folder_of_another_comparison_is_refused(run):
    words = ("compare", "digits", "--methods", "none", "--out", "there", *SMALL)
    assert run(*words)[0] == 0
    code, _, errors = run(*words)
    assert code == 2
    assert errors == "error: there: --out must name a folder without results, found config.json in it.\n"


def test_runs_without_a_result_end_with_1(run):
    code, out, errors = run("compare", "digits", "--methods", "none", "--lr", "1e30", *SMALL)
    assert code == 1
    assert "0/2" in out
    assert "none, fold 0, seed 0: diverged. The loss was not finite after epoch 1 of 1" in errors


def test_report_is_made_again(run, tmp_path):
    run("compare", "digits", "--methods", "none", "--out", "there", *SMALL)
    before = (tmp_path / "there" / "report.html").read_bytes()
    (tmp_path / "there" / "report.html").unlink()
    assert run("report", "there")[:2] == (0, "report: there/report.html\n")
    assert (tmp_path / "there" / "report.html").read_bytes() == before


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"model": "cnn", "methods": ("dropout2d", "none"), "p": (0.25, 0.5), "folds": 4, "seeds": 5, "epochs": 6},
        {"data": "mnist", "batch_size": 7, "lr": 1e-05, "jobs": 8, "data_dir": Path("a b/'c"), "out": Path("d e")},
    ],
)
def test_the_command_in_a_report_gives_the_same_settings(run, monkeypatch, settings):
    class GotError(Exception):
        pass

    def compare(config, **callbacks):
        raise GotError(config)

    monkeypatch.setattr(study, "compare", compare, raising=False)
    config = study.CompareConfig(**settings)
    with pytest.raises(GotError) as got:
        run(*shlex.split(config.command())[1:])
    assert got.value.args == (config,)


def test_a_bug_keeps_its_traceback(run, monkeypatch):
    def compare(config, **callbacks):
        raise ValueError("a bug")

    monkeypatch.setattr(study, "compare", compare, raising=False)
    with pytest.raises(ValueError, match="a bug"):
        run("compare", "digits")


def test_methods_names_every_row_of_the_catalogue(run):
    code, out, _ = run("methods")
    assert code == 0
    assert [line.split()[0] for line in out.splitlines() if "=0" in line] == catalog.names()


@pytest.mark.parametrize("name", catalog.names())
def test_one_method_in_full(run, name):
    code, out, _ = run("methods", name)
    words = " ".join(out.split())
    row = catalog.get(name)
    assert code == 0
    assert f"layer {row.layer} function {row.function}" in words
    assert " ".join(row.reference.split()) in words
    assert f"argument {row.argument} default {row.default}" in words


def test_unknown_method(run):
    assert run("methods", "gausian")[0] == 2
    assert "Did you mean 'gaussian'" in run("methods", "gausian")[2]


def test_version(run):
    assert run("--version")[:2] == (0, f"torchdropout {__version__}\n")


def process(code):
    words = [sys.executable, "-c", code]
    return subprocess.run(words, capture_output=True, text=True, check=False, env=os.environ | {"COLUMNS": "80"})


def test_without_the_study_extra_it_says_what_to_install():
    ended = process("import sys; sys.modules['typer'] = None; from torchdropout.cli import main; main()")
    assert ended.returncode == 2
    assert ended.stderr == "error: the command line needs typer: pip install 'torchdropout[study]'\n"


def test_the_library_says_so_too():
    ended = process(
        "import sys; sys.modules['sklearn'] = sys.modules['pandas'] = None; import torchdropout.study as s; s.read"
    )
    assert ended.returncode == 1
    assert "ImportError: torchdropout.study needs pandas: pip install 'torchdropout[study]'." in ended.stderr


def test_a_real_process_ends_with_2_and_one_line():
    words = [sys.executable, "-m", "torchdropout.cli", "compare", "mnist", "--data-dir", "nowhere"]
    ended = subprocess.run(words, capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert ended.stdout == ""
    assert ended.stderr.count("\n") == 1
    assert ended.stderr.startswith("error: nowhere: there must be a file")


def test_importing_the_command_line_does_not_import_plotting():
    ended = process(
        "import sys, torchdropout.study.commands; print([m for m in ('plotly', 'pandas') if m in sys.modules])"
    )
    assert ended.stdout == "[]\n"
