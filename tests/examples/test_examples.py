"""Every experiment, run at its small size: what it states holds, and its figure is a picture."""

import subprocess
import sys

import pytest
import torch

from torchdropout import examples

plt = pytest.importorskip("matplotlib.pyplot")

NAMES = examples.names()
COMMON = examples._module("_common")


def needs_files(name):
    return "images(" in source(name) or "texts(" in source(name)


def source(name):
    return (examples.folder() / f"{name}.py").read_text()


@pytest.mark.parametrize("name", NAMES)
def test_what_an_experiment_states_holds_at_the_small_size(name, tmp_path):
    if needs_files(name) and COMMON.data_dir() is None:
        pytest.skip(f"{COMMON.VARIABLE} names no folder of data")
    findings = examples.run(name, True, tmp_path)
    assert findings
    for finding in findings:
        assert finding.what
        assert finding.expected
        assert finding.holds, f"{finding.what}: expected {finding.expected}, measured {finding.measured}"
    picture = plt.imread(tmp_path / f"{name}.png")
    assert picture.shape[0] > 200
    assert picture.shape[1] > 200
    assert picture[..., :3].std() > 0.02  # a blank page has none


@pytest.mark.parametrize("name", NAMES)
def test_an_experiment_says_what_is_expected_and_from_where(name):
    text = source(name)
    doc = text.split('"""')[1]
    assert len(doc.split()) > 40, "the docstring says what is expected, and why"
    assert "holds=True" not in text
    assert "Finding(" in text


def test_a_script_runs_by_itself_and_prints_its_table(tmp_path):
    done = subprocess.run(
        [sys.executable, examples.folder() / "polynomials.py", "--small", "--out", tmp_path],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "expected" in done.stdout
    assert "measured" in done.stdout
    assert (tmp_path / "polynomials.png").stat().st_size > 10_000


@pytest.mark.parametrize("name", ["fashion", "fine_tune"])
def test_a_script_that_needs_files_says_so_in_one_sentence(name, tmp_path):
    done = subprocess.run(
        [sys.executable, examples.folder() / f"{name}.py", "--small", "--out", tmp_path],
        capture_output=True, text=True, check=False, env={"PATH": ""},
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "TORCHDROPOUT_DATA" in done.stderr


def test_an_unknown_name_is_refused_with_the_nearest_and_all_names(tmp_path):
    with pytest.raises(examples.UnknownExample, match="Did you mean 'polynomials'") as raised:
        examples.run("polynomial", True, tmp_path)
    assert all(name in str(raised.value) for name in NAMES)
    assert not list(tmp_path.iterdir())


def test_the_page_of_measured_values_has_a_section_for_every_experiment():
    page = (examples.folder() / "README.md").read_text()
    assert [name for name in NAMES if f"(`{name}`)" not in page] == []


def test_helpers_are_not_experiments():
    assert not [name for name in NAMES if name.startswith("_")]
    with pytest.raises(examples.UnknownExample):
        examples.run("_common", True, None)


def test_a_finding_that_fails_is_named_in_the_table(capsys):
    rows = [COMMON.Finding("first", "1", "1", True), COMMON.Finding("second", "2", "3", False)]
    examples.show(rows)
    lines = capsys.readouterr().out.splitlines()
    assert [("DOES NOT HOLD" in line) for line in lines if "first" in line or "second" in line] == [False, True]


def test_an_interval_is_students():
    mean, half = COMMON.interval([1.0, 2.0, 3.0])
    assert mean == 2
    assert half == pytest.approx(4.302653 / 3**0.5, rel=1e-6)  # the 97.5 % quantile of t with two degrees of freedom
    assert COMMON.interval([5.0]) == (5, float("inf"))


def test_the_recipe_holds_the_norms_of_hidden_units_and_no_others():
    module = examples._module("recipe")
    model = module.network(module.WHOLE)
    first, *_, last = module.linear_layers(model)
    with torch.no_grad():
        first.weight[0] = 1.0
        first.weight[1] = 1e-3
        last.weight[0] = 100.0
    module.hold_norms(model, 2.0)
    assert float(first.weight[0].detach().norm()) == pytest.approx(2.0, rel=1e-5)
    assert torch.equal(first.weight[1], torch.full((784,), 1e-3))
    assert (last.weight[0] == 100).all()
