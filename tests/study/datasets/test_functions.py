import sys
import textwrap

import numpy as np
import pytest

from torchdropout.study import datasets
from torchdropout.study.errors import StudyError

MODULE = """
    import numpy as np
    import pandas as pd
    from torchdropout.study.datasets import Dataset

    X = np.arange(6.0).reshape(3, 2)
    Y = np.array([0, 1, 0])
    not_a_function = 3

    def pair(): return X, Y
    def lists(): return X.tolist(), ["u", "v", "u"]
    ROWS = [7, 7, 9]
    def table(): return pd.DataFrame({"n": [1, 2, 3], "c": ["a", None, "b"]}, index=ROWS), pd.Series(Y, index=ROWS)
    def four(): return X, Y * 0.5, X + 1, Y * 0.25
    def whole(): return Dataset("mine", "regression", X, Y * 1.0, (), "My own.")
    def late():
        import given_helper
        return X, given_helper.Y
    def nothing(): pass
    def three(): return X, Y, X
    def ragged(): return [[1, 2], [3]], [0, 1]
    def broken(): raise KeyError("no\\nrows.")
    def silent(): raise RuntimeError
    def leaves(): raise SystemExit(3)
    def wrong(): return Dataset("mine", "regression", X, Y[:2] * 1.0, (), "")
    def needs(argument): return X, Y
    def one_row(): return X[:1], Y[:1]
"""


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A module `given_data` in the current directory, forgotten afterwards."""
    (tmp_path / "given_data.py").write_text(textwrap.dedent(MODULE))
    (tmp_path / "given_helper.py").write_text("Y = [0, 1, 1]")
    (tmp_path / "given_error.py").write_text("import no_such_package")
    (tmp_path / "given_syntax.py").write_text("def x(:")
    (tmp_path / "given_exit.py").write_text("raise SystemExit")
    monkeypatch.chdir(tmp_path)
    before = list(sys.path)
    yield tmp_path
    assert sys.path == before
    for name in [name for name in sys.modules if name.startswith("given_")]:
        del sys.modules[name]


def test_pair_of_arrays(here):
    loaded = datasets.load("given_data:pair")
    assert (loaded.name, loaded.task, loaded.inputs.shape) == ("given_data:pair", "classification", (3, 2))


def test_lists(here):
    loaded = datasets.load("given_data:lists")
    np.testing.assert_array_equal(loaded.inputs, np.arange(6.0).reshape(3, 2))
    assert loaded.classes == ("u", "v")


def test_table(here):
    loaded = datasets.load("given_data:table")
    assert loaded.inputs.to_dict("list") == {"n": [1.0, 2.0, 3.0], "c": ["a", None, "b"]}
    assert loaded.targets.tolist() == [0, 1, 0]


def test_with_a_test_split(here):
    loaded = datasets.load("given_data:four")
    assert loaded.task == "regression"
    assert loaded.test_targets.tolist() == [0, 0.25, 0]


def test_whole_data_set(here):
    assert datasets.load("given_data:whole").note == "My own."
    with pytest.raises(StudyError, match="--task: given_data:whole returned a regression, got 'classification'"):
        datasets.load("given_data:whole", task="classification")


def test_modules_beside_it_are_found_while_it_runs(here):
    assert datasets.load("given_data:late").targets.tolist() == [0, 1, 1]


def test_task_and_max_examples_apply(here):
    loaded = datasets.load("given_data:pair", task="regression", max_examples=2)
    assert (loaded.task, len(loaded.targets)) == ("regression", 2)


RETURN = r"the function must return a Dataset, \(inputs, targets\) or \(inputs, targets, test_inputs, test_targets\)"
BROKEN = {
    "given_nowhere:data": "importable, it raised ModuleNotFoundError: No module named 'given_nowhere'",
    "given_error:data": "importable, it raised ModuleNotFoundError: No module named 'no_such_pa",
    "given_syntax:data": "module 'given_syntax' must be importable, it raised SyntaxError: ",
    "given_exit:data": "module 'given_exit' must be importable, it raised SystemExit.",
    "given_data:absent": r"'absent' must be a function, found none of that name in .*given_data\.py",
    "given_data:not_a_function": "'not_a_function' must be a function, found 3",
    "given_data:": "must be module:function, found nothing after the colon",
    ":data": "must be module:function, found nothing before the colon",
    "given_data:nothing": f"{RETURN}, found a NoneType",
    "given_data:three": f"{RETURN}, found a tuple of 3",
    "given_data:broken": f"{RETURN}, it raised KeyError: 'no.*rows.'",
    "given_data:silent": rf"{RETURN}, it raised RuntimeError\.",
    "given_data:leaves": f"{RETURN}, it raised SystemExit: 3",
    "given_data:needs": f"{RETURN}, it raised TypeError: .*missing 1 required positional argument: 'argument'",
    "given_data:wrong": f"{RETURN}, it raised StudyError: mine: there must be one target for each input",
    "given_data:ragged": "the function must return arrays or tables, it raised ValueError: .*inhomogeneous",
    "given_data:one_row": "at least 2 examples, found 1",
}  # fmt: skip


@pytest.mark.parametrize(("name", "rule"), BROKEN.items(), ids=BROKEN.keys())
def test_unusable_functions(here, name, rule):
    with pytest.raises(StudyError, match=rule) as caught:
        datasets.load(name)
    assert str(caught.value).startswith(f"{name}: ")
    assert "\n" not in str(caught.value)


def test_the_original_error_is_kept_for_debuggers(here):
    with pytest.raises(StudyError) as caught:
        datasets.load("given_data:silent")
    assert isinstance(caught.value.__cause__, RuntimeError)
