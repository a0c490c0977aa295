import io
import os
import subprocess
import sys
from dataclasses import replace

import pandas as pd
import pytest

from torchdropout import catalog, cli, examples, study
from torchdropout._version import __version__
from torchdropout.study import additions, datasets, execution


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
    "unknown addition": (
        ["--methods", "none,dropout+maxnrom"],
        "'dropout+maxnrom': no method is called 'maxnrom'. Did",
    ),
    "two noise methods": (["--methods", "dropout+gaussian"], "names two noise methods, dropout and gaussian: a diff"),
    "strength without a value": (["--strength", "dropout"], "`strength` must be NAME=values, got 'dropout'"),
    "strength twice": (["--strength", "dropout=.1", "--strength", "dropout=.2"], "`strength` must be given once for"),
    "strength of words": (["--strength", "dropout=low"], "`strength` must be numbers separated by commas, got 'low'"),
    "strength of none": (["--strength", "rdrop=1"], "`strength` was given for rdrop, which takes none or is not in"),
    "strength out of range": (["--methods", "rdrop", "--strength", "rdrop=-1"], "of rdrop must be finite and not neg"),
    "method without a place": (["--methods", "dropout2d"], "cannot be placed in model 'mlp'"),
    "p too large": (["--p", "1.5"], "`p` must be in [0, 1], got 1.5"),
    "p not a number": (["--p", "nan"], "`p` must be in [0, 1], got nan"),
    "p not numeric": (["--p", "0.1,half"], "`p` must be numbers separated by commas, got '0.1,half'"),
    "one fold": (["--folds", "1"], "`folds` must be at least 2, got 1"),
    "no methods": (["--methods", ","], "`methods` must name at least one method"),
    "missing files": (["mnist", "--data-dir", "nowhere"], "nowhere: there must be a file train-images-idx3-ubyte"),
    "widths not numbers": (["--widths", "a,b"], "`widths` must be numbers separated by commas, got 'a,b'"),
    "nothing to resume": (["--resume"], "--resume needs the folder of a study as --out, got None"),
    "a folder that cannot be": (
        ["--out", "/dev/null/x"],
        "--out must name a folder that can be written, found: Not a dir",
    ),
    "no factory": (["--model", "nowhere:net"], "nowhere:net: module 'nowhere' must be importable"),
    "no device": (["--device", "nowhere"], "`device` must be one that torch can use here, got 'nowhere'"),
    "text that is missing": (["banking77", "--model", "lstm", "--data-dir", "x"], "x: there must be a file train.csv"),
    "text of what is no table": (
        ["digits", "--text", "said"],
        "--text: only a table has a column to choose as the text",
    ),
    "an lstm of images": (["digits", "--model", "lstm"], "model 'lstm' reads text, got images of 1 × 8 × 8."),
    "no passes": (["--mc", "0"], "`mc` must be at least 1, got 0"),
    "no examples": (["--max-examples", "0"], "`max_examples` must be at least 1, got 0"),
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
    assert [line.split()[0] for line in out.splitlines()[3:5]] == ["none", "dropout"]
    assert " to +" in out.splitlines()[4] or " to -" in out.splitlines()[4]
    assert "verdicts are adjusted" in out
    assert max(len(line.rstrip()) for line in out.splitlines()) <= 80
    assert out.splitlines()[-1] == "report: there/report.html"
    assert "4/4 dropout p=0.5, repeat 0, fold 1, seed 0: training" in errors
    assert len(study.read(tmp_path / "there").results) == 4


def test_the_folder_of_another_comparison_is_refused(run):
    words = ("compare", "digits", "--methods", "none", "--out", "there", *SMALL)
    assert run(*words)[0] == 0
    code, _, errors = run(*words)
    assert code == 2
    assert errors == (
        "error: there: --out must name a folder without a study, found study.sqlite in it (--resume goes on with it).\n"
    )


def test_runs_without_a_result_end_with_1(run):
    code, out, errors = run("compare", "digits", "--methods", "none", "--lr", "1e30", *SMALL)
    assert code == 1
    assert "0/2" in out
    assert "none, repeat 0, fold 0, seed 0: diverged. The loss was not finite after epoch 1 of 1" in errors


def test_report_is_made_again(run, tmp_path):
    run("compare", "digits", "--methods", "none", "--out", "there", *SMALL)
    before = (tmp_path / "there" / "report.html").read_bytes()
    (tmp_path / "there" / "report.html").unlink()
    assert run("report", "there")[:2] == (0, "report: there/report.html\n")
    assert (tmp_path / "there" / "report.html").read_bytes() == before


def test_passes_are_measured_and_a_model_is_assessed(run, tmp_path):
    words = ("--methods", "dropout", "--mc", 4, "--max-examples", 300, "--out", "there", *SMALL)
    code, out, _ = run("compare", "digits", *words)
    assert code == 0
    assert "The noise off, and on: the mean over passes (4, in s seconds)" in out
    assert max(len(line.rstrip()) for line in out.splitlines()) <= 80
    code, out, errors = run("uncertainty", "there", "digits", "--samples", 4)
    assert (code, errors) == (0, "")
    assert "negative log-likelihood, nats" in out
    assert out.splitlines()[-2].startswith("The model learned from digits: these figures are too good.")
    assert out.splitlines()[-1] == "page: there/uncertainty.html"
    assert max(len(line.rstrip()) for line in out.splitlines()[:-2]) <= 80
    assert (tmp_path / "there" / "uncertainty.html").is_file()
    assert run("uncertainty", "there", "digits", "--samples", 4, "--out", "page.html")[1].endswith("page: page.html\n")
    code, out, errors = run("uncertainty", "there", "wine")
    assert (code, out) == (2, "")
    assert errors.startswith("error: wine: classes must be those of training")


def test_a_failed_study_with_passes_has_a_table_without_rows(run):
    code, out, _ = run("compare", "digits", "--methods", "dropout", "--lr", "1e30", "--mc", 3, *SMALL)
    assert code == 1
    assert "report: " in out


def test_a_study_goes_on_where_it_was_interrupted(run, monkeypatch, tmp_path):
    def interrupt(run, material):
        if run.fold == 1:
            raise KeyboardInterrupt
        return real(run, material)

    real = execution.train_run
    with monkeypatch.context() as patch:
        patch.setattr(execution, "train_run", interrupt)
        code, out, errors = run("compare", "digits", "--methods", "none,dropout", "--out", "there", *SMALL)
    assert (code, out) == (130, "")
    assert errors.splitlines()[-1] == (
        "interrupted: every finished run is kept. Go on with: torchdropout compare --resume --out there"
    )
    code, out, errors = run("compare", "--resume", "--out", "there")
    assert code == 0
    assert errors.splitlines()[0] == "there: 2 of 4 runs were done before"
    assert len(study.read(tmp_path / "there").results) == 4


def test_predictions_of_the_best_model(run, tmp_path):
    table = datasets.load("iris")
    frame = pd.DataFrame(table.inputs, columns=list("abcd")).assign(kind=[table.classes[n] for n in table.targets])
    frame.to_csv(tmp_path / "iris.csv", index=False)
    frame.drop(columns="kind").iloc[::-1].to_csv(tmp_path / "new.csv", index=False)
    words = ("--target", "kind", "--widths", 20, "--folds", 3, "--seeds", 1, "--epochs", 40, "--lr", 0.01, "--jobs", 1)
    assert run("compare", "iris.csv", "--out", "there", *words)[0] == 0
    code, out, _ = run("predict", "there", "new.csv")
    assert code == 0
    found = pd.read_csv(io.StringIO(out))
    assert (found["prediction"] == frame["kind"].to_numpy()[::-1]).mean() > 0.9
    assert run("predict", "there", "new.csv", "--out", "found.csv")[:2] == (0, "")
    assert (tmp_path / "found.csv").read_text() == out


def test_data_are_fetched(run, monkeypatch):
    monkeypatch.setattr(datasets, "fetch", lambda name, folder, address: (name, str(folder), address))
    assert run("data", "fetch", "mnist", "--folder", "x", "--address", "http://127.0.0.1:1")[1] == (
        "mnist: ('mnist', 'x', 'http://127.0.0.1:1')\n"
    )


def test_a_bug_keeps_its_traceback(run, monkeypatch):
    def compare(**settings):
        raise ValueError("a bug")

    monkeypatch.setattr(study, "compare", compare, raising=False)
    with pytest.raises(ValueError, match="a bug"):
        run("compare", "digits")


def test_methods_names_every_row_of_the_catalogue(run):
    code, out, _ = run("methods")
    assert code == 0
    assert max(map(len, out.splitlines())) <= 80
    catalogue = out.split("\nAlone or joined to a method")[0]
    first = [line.split()[0] for line in catalogue.splitlines() if line.strip() and not line.startswith("  ")]
    assert [word for word in first if word in catalog.names()] == catalog.names()
    head, _, *lines = catalogue.rstrip("\n").splitlines()
    models: dict[str, str] = {}
    for line in lines:  # a row's first line has its name, the others go on with its cells
        name = line.split()[0] if line[0] != " " else list(models)[-1]
        models[name] = models.get(name, "") + "".join(line[head.index("compare in") :].split())
    assert models == {row.name: ",".join(row.models) or "–" for row in catalog.METHODS}


def test_methods_names_what_can_be_added(run):
    table = run("methods")[1].split("\nAlone or joined to a method, as in dropout+maxnorm:\n")[1]
    _, head, _, *lines = table.rstrip("\n").splitlines()
    assert head.split() == ["name", "what", "it", "does", "default"]
    rows: dict[str, str] = {}
    for line in lines:
        name = line.split()[0] if line[0] != " " else list(rows)[-1]
        rows[name] = f"{rows.get(name, '')} {line.removeprefix(name).strip()}"
    assert list(rows) == additions.names()
    for row in additions.ADDITIONS:
        assert sorted(rows[row.name].split()) == sorted(f"{row.what} {row.argument}={row.default:.3g}".split())


def test_an_addition_in_full(run):
    words = " ".join(run("methods", "rdrop")[1].split())
    assert "title R-Drop" in words
    assert "argument alpha default 1.0" in words


@pytest.mark.parametrize("name", catalog.names())
def test_one_method_in_full(run, name):
    code, out, _ = run("methods", name)
    words = " ".join(out.split())
    row = catalog.get(name)
    assert code == 0
    assert f"layer {row.usage} function {row.function or '–'} " in words
    assert " ".join(row.reference.split()) in words
    assert f"argument {row.argument or '–'} default {row.default}" in words


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


@pytest.mark.skipif(sys.platform == "win32", reason="needs limits on the size of files")
@pytest.mark.parametrize(("limit", "what"), [(60_000, "study.sqlite"), (1_000_000, "there")])
def test_a_full_disk_loses_nothing_that_was_stored(tmp_path, limit, what):
    """A limit on the size of files fails like a full disk: for the store first, or later for the model."""
    words = ["compare", "digits", "--methods", "none", "--folds", "12", "--epochs", "30", "--widths", "16"]
    code = (
        "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}));"
        f"sys.argv = {['torchdropout', *words, '--seeds', '2', '--jobs', '1', '--out', str(tmp_path / 'there')]};"
        "from torchdropout.cli import main; main()"
    )
    ended = process(code)
    assert ended.returncode == 2
    assert "Traceback" not in ended.stderr
    last = ended.stderr.splitlines()[-1]
    assert last.startswith("error: ")
    assert what in last
    kept = [line for line in ended.stderr.splitlines() if line.split("/")[0].isdecimal()]
    assert len(study.read(tmp_path / "there").results) == len(kept) > 0


def test_experiments_are_listed_and_run(run, monkeypatch):
    finding = examples._module("_common").Finding("a", "b", "c", holds=False)
    monkeypatch.setattr(
        examples, "run", lambda name, small, out: [replace(finding, holds=name == "ridge"), finding][:1]
    )
    assert run("example")[1].split() == examples.names()
    assert run("example", "ridge", "--small")[0] == 0
    code, out, _ = run("example", "polynomials")
    assert code == 1
    assert "DOES NOT HOLD" in out


def test_activation_functions_are_drawn(run, tmp_path):
    code, out, _ = run("show", "activations", "--out", "drawn.png")
    assert (code, out) == (0, "figure: drawn.png\n")
    assert (tmp_path / "drawn.png").read_bytes().startswith(b"\x89PNG")


def test_an_unknown_experiment(run):
    code, _, errors = run("example", "polynomal")
    assert code == 2
    assert "Did you mean 'polynomials'?" in errors
