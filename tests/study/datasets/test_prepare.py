import json
import time
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.model_selection import KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from torchdropout.study import datasets
from torchdropout.study.datasets import Dataset, Preparation, fit
from torchdropout.study.errors import StudyError

EXAMPLES = 120


def mixed_text() -> str:
    """A table of two kinds of columns with holes, one constant column, and categories that only some rows have."""
    generator = np.random.default_rng(0)
    columns = {
        "age": generator.integers(18, 90, EXAMPLES),
        "town": generator.choice(["Aachen", "Bonn", "Celle", "Dachau"], EXAMPLES, p=[0.5, 0.3, 0.15, 0.05]),
        "income": generator.lognormal(8, 2, EXAMPLES).round(2),
        "constant": np.full(EXAMPLES, 0.1),
        "code": generator.choice(["7", "x"], EXAMPLES),
        "price": generator.lognormal(1, 1, EXAMPLES).round(3),
    }
    table = pd.DataFrame(columns, dtype=object)
    for name in ("age", "town", "income", "code"):
        table.loc[generator.choice(EXAMPLES, 25, replace=False), name] = None
    table.loc[EXAMPLES - 1, "town"] = "Erfurt"
    return table.to_csv(index=False)


@pytest.fixture
def mixed(write) -> Dataset:
    return datasets.load(str(write("mixed.csv", mixed_text())), target="price")


FOLDS = list(KFold(5).split(np.zeros(EXAMPLES)))


@pytest.mark.parametrize("fold", range(5))
def test_table_is_prepared_as_by_scikit_learns_pipeline(mixed, fold):
    train, rest = FOLDS[fold]
    numbers = make_pipeline(SimpleImputer(strategy="median"), StandardScaler())
    categories = make_pipeline(
        SimpleImputer(strategy="most_frequent", missing_values=None),
        OneHotEncoder(handle_unknown="ignore", sparse_output=False),
    )
    reference = make_column_transformer(
        (numbers, make_column_selector(dtype_include=float)), (categories, make_column_selector(dtype_include=object))
    ).fit(mixed.inputs.iloc[train])
    fitted = fit(mixed, train)
    for part in (train, rest):
        prepared = fitted.inputs(mixed.inputs.iloc[part])
        assert prepared.dtype == torch.float32
        assert prepared.shape[1:] == fitted.shape
        np.testing.assert_array_equal(prepared.numpy(), reference.transform(mixed.inputs.iloc[part]).astype(np.float32))


def test_a_level_only_outside_of_the_training_part_is_all_zeros(mixed):
    train = np.arange(EXAMPLES - 1)
    town = slice(3, 7)  # after the three numbers, the four towns that train
    last = fit(mixed, train).inputs(mixed.inputs.iloc[[EXAMPLES - 1]])
    assert last[0, town].tolist() == [0, 0, 0, 0]
    assert fit(mixed, np.arange(EXAMPLES)).shape == (3 + 5 + 2,)


ARRAY = Dataset("a", "regression", np.random.default_rng(1).normal(5, 3, (60, 4)), np.arange(60.0), (), "")
PIXELS = np.random.default_rng(2).integers(0, 256, (60, 1, 4, 4)).astype(np.uint8)
IMAGES = Dataset("i", "classification", PIXELS, np.arange(60) % 3, ("u", "v", "w"), "")


@pytest.mark.parametrize("kind", ["table", "array", "images"])
def test_nothing_outside_of_the_training_part_matters(mixed, kind):
    data = {"table": mixed, "array": ARRAY, "images": IMAGES}[kind]
    train = np.arange(0, len(data.targets), 2)
    inputs, targets = data.inputs.copy(), data.targets[::-1].copy()
    targets[train] = data.targets[train]
    if kind == "table":
        inputs.loc[1::2, "age"] = 1e6
        inputs.loc[1::2, "income"] = np.nan
        inputs.loc[1::2, "town"] = "Zwickau"
    else:
        inputs[1::2] = 200
    other = replace(data, inputs=inputs, targets=targets)
    assert other.fingerprint != data.fingerprint
    assert fit(other, train) == fit(data, train)


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16, np.int64, np.uint8, bool])
def test_columns_of_an_array_are_standardised(dtype):
    raw = np.random.default_rng(3).integers(0, 9, (200, 3)).astype(dtype)
    raw[:, 1] = 1
    data = Dataset("a", "classification", raw, np.arange(200) % 2, ("u", "v"), "")
    train = np.arange(150)
    prepared = fit(data, train).inputs(raw)
    reference = StandardScaler().fit(raw[train].astype(np.float64)).transform(raw.astype(np.float64))
    np.testing.assert_allclose(prepared.numpy(), reference, atol=1e-6)
    assert (prepared[:, 1] == 0).all()


@pytest.mark.parametrize(("dtype", "size"), [(np.float64, 1e99), (np.float32, 1e37), (np.float64, 1e-150)])
def test_extreme_numbers_do_not_overflow(dtype, size):
    raw = (np.array([[-1.0], [1.0]]) * size).astype(dtype)
    data = Dataset("a", "classification", raw, np.array([0, 1]), ("u", "v"), "")
    assert fit(data, np.arange(2)).inputs(raw).flatten().tolist() == [-1, 1]


def test_missing_numbers_of_an_array_become_the_training_medians():
    raw = np.array([[1.0, 7.0], [np.nan, 8.0], [3.0, 9.0], [8.0, 7.0], [1000.0, np.nan]])
    data = Dataset("a", "classification", raw, np.array([0, 1, 0, 1, 0]), ("u", "v"), "")
    fitted = fit(data, np.arange(4))
    filled = np.array([[1.0, 7.0], [3.0, 8.0], [3.0, 9.0], [8.0, 7.0]])  # the median of 1, 3, 8
    expected = (raw[:4] - filled.mean(0)) / filled.std(0)
    expected[1, 0] = (3.0 - filled[:, 0].mean()) / filled[:, 0].std()
    np.testing.assert_allclose(fitted.inputs(raw[:4]).numpy(), expected, rtol=1e-6)
    assert fitted.inputs(raw)[4, 1] == pytest.approx((7.5 - filled[:, 1].mean()) / filled[:, 1].std())


def test_columns_that_are_all_missing_where_it_trains(write):
    path = write("holes.csv", "a,b,y\n,,0\n,,1\n,,0\n4,u,1\n6,v,0\n")
    data = datasets.load(str(path), target="y")
    fitted = fit(data, np.arange(3))
    assert fitted.inputs(data.inputs).tolist() == [[0], [0], [0], [4], [6]]


def test_images_are_scaled_by_one_mean_and_one_deviation():
    train = np.arange(40)
    prepared = fit(IMAGES, train).inputs(PIXELS).double()
    assert prepared[:40].mean() == pytest.approx(0, abs=1e-6)
    assert prepared[:40].std(correction=0) == pytest.approx(1, abs=1e-6)
    slope = (prepared - prepared.flatten()[0]) / torch.from_numpy(PIXELS - PIXELS.flat[0].astype(float))
    assert slope.nan_to_num(nan=slope[1, 0, 0, 0].item()).std() < 1e-6


def test_images_all_alike_become_zeros():
    data = replace(IMAGES, inputs=np.full_like(PIXELS, 7))
    assert not fit(data, np.arange(9)).inputs(data.inputs).any()


class TestTargets:
    def test_classes_stay(self):
        fitted = fit(IMAGES, np.arange(10))
        prepared = fitted.targets(IMAGES.targets)
        assert prepared.dtype == torch.int64
        assert prepared.tolist() == IMAGES.targets.tolist()
        assert fitted.target_scale == 1.0

    @pytest.mark.parametrize("log_target", [False, True])
    def test_numbers_are_standardised_and_come_back(self, mixed, log_target):
        train = FOLDS[2][0]
        fitted = fit(mixed, train, log_target=log_target)
        values = np.log(mixed.targets) if log_target else mixed.targets
        assert fitted.target_scale == pytest.approx(values[train].std(), rel=1e-12)
        prepared = fitted.targets(mixed.targets)
        assert prepared.dtype == torch.float32
        assert prepared.shape == (EXAMPLES, 1)
        np.testing.assert_allclose(
            prepared[:, 0], (values - values[train].mean()) / values[train].std(), rtol=1e-5, atol=1e-6
        )
        back = fitted.in_units(prepared.requires_grad_())
        assert not back.requires_grad
        np.testing.assert_allclose(back.numpy(), mixed.targets, rtol=1e-5)

    def test_constant_where_it_trains(self):
        data = replace(ARRAY, targets=np.where(np.arange(60) < 30, 4.0, 5.0))
        fitted = fit(data, np.arange(30))
        assert fitted.target_scale == 1.0
        assert fitted.targets(data.targets)[[0, 59], 0].tolist() == [0, 1]

    @pytest.mark.parametrize("where", ["trains", "is held out", "is for the test"])
    def test_logarithms_need_positive_targets(self, where):
        targets, test = np.arange(1.0, 61), np.arange(1.0, 61)
        {"trains": targets, "is held out": targets, "is for the test": test}[where][3 if where == "trains" else 50] = -2
        data = replace(ARRAY, targets=targets, test_inputs=ARRAY.inputs, test_targets=test)
        name = r"a \(test split\)" if where == "is for the test" else "a"
        row = 4 if where == "trains" else 51
        with pytest.raises(StudyError, match=f"--log-target: targets must be positive, {name} has -2 in row {row}"):
            fit(data, np.arange(30), log_target=True)

    def test_logarithms_are_of_numbers(self):
        with pytest.raises(StudyError, match="--log-target: the task must be regression, i is a classification"):
            fit(IMAGES, np.arange(30), log_target=True)


class TestJson:
    @pytest.mark.parametrize("kind", ["table", "array", "images"])
    def test_comes_back_equal_and_prepares_equally(self, mixed, kind):
        data = {"table": mixed, "array": ARRAY, "images": IMAGES}[kind]
        fitted = fit(data, np.arange(50), log_target=kind == "table")
        again = Preparation.from_json(json.loads(json.dumps(fitted.to_json(), allow_nan=False)))
        assert again == fitted
        assert torch.equal(again.inputs(data.inputs), fitted.inputs(data.inputs))
        assert torch.equal(again.targets(data.targets), fitted.targets(data.targets))

    @pytest.mark.parametrize("change", [{"encoding": {}}, {"shape": 3}, {"extra": 1}, {"encoding": None}])
    def test_something_else(self, change):
        stored = {**fit(ARRAY, np.arange(50)).to_json(), **change}
        with pytest.raises(StudyError, match="preparation: it must be as `Preparation.to_json` wrote it, found "):
            Preparation.from_json(stored)


class TestNewExamples:
    def test_csv_with_other_columns_in_another_order_and_no_target(self, mixed, write):
        fitted = fit(mixed, np.arange(EXAMPLES - 1))
        table = pd.read_csv(write("same.csv", mixed_text()), dtype=str)
        shuffled = table[["code", "constant", "income", "age", "town"]].assign(more="x")
        path = write("new.csv", shuffled.to_csv(index=False))
        assert torch.equal(fitted.inputs(datasets.load_inputs(path, fitted)), fitted.inputs(mixed.inputs))

    def test_a_category_that_looks_like_numbers_there(self, mixed, write):
        fitted = fit(mixed, np.arange(EXAMPLES - 1))
        path = write("new.csv", "age,town,income,constant,code\n30,Bonn,1,0.1,7\n")
        prepared = fitted.inputs(datasets.load_inputs(path, fitted))
        assert prepared[0, 3:].tolist() == [0, 1, 0, 0, 1, 0]

    BROKEN = (
        (
            "age,town,income,constant\n30,Bonn,1,0.1\n",
            "there must be a column 'code', as in training, found 'age', 'town'",
        ),
        (
            "age,town,income,constant,code\nold,Bonn,1,0.1,7\n",
            "column 'age' must hold numbers, as in training, found 'old'",
        ),
        ("", "must be a table in the file"),
    )

    @pytest.mark.parametrize(("text", "rule"), BROKEN)
    def test_unusable_csv(self, mixed, write, text, rule):
        fitted = fit(mixed, np.arange(EXAMPLES))
        with pytest.raises(StudyError, match=rule):
            fitted.inputs(datasets.load_inputs(write("new.csv", text), fitted))

    def test_npz(self, tmp_path):
        fitted = fit(ARRAY, np.arange(50))
        np.savez(tmp_path / "new.npz", inputs=ARRAY.inputs[:3])
        loaded = datasets.load_inputs(tmp_path / "new.npz", fitted)
        assert torch.equal(fitted.inputs(loaded), fitted.inputs(ARRAY.inputs)[:3])
        np.savez(tmp_path / "new.npz", x=ARRAY.inputs[:3])
        with pytest.raises(StudyError, match="must be an array inputs, found x"):
            datasets.load_inputs(tmp_path / "new.npz", fitted)

    @pytest.mark.parametrize("shape", [(2, 3), (2, 4, 1, 1), (4,)])
    def test_arrays_of_another_shape(self, shape):
        with pytest.raises(
            StudyError, match=r"inputs: they must be an array of shape \(examples, 4\) as in training, found"
        ):
            fit(ARRAY, np.arange(50)).inputs(np.zeros(shape))

    def test_another_kind(self, mixed, tmp_path):
        with pytest.raises(StudyError, match="inputs: they must be a table as in training, found shape"):
            fit(mixed, np.arange(50)).inputs(np.zeros((2, 5)))
        with pytest.raises(StudyError, match="inputs: they must be an array of shape .* as in training, found a table"):
            fit(ARRAY, np.arange(50)).inputs(mixed.inputs)
        with pytest.raises(StudyError, match=r"new\.json: new examples must be in a \.csv"):
            datasets.load_inputs(tmp_path / "new.json", fit(ARRAY, np.arange(50)))

    def test_text_in_an_array(self):
        with pytest.raises(StudyError, match="inputs: they must be real numbers, found <U32"):
            fit(ARRAY, np.arange(50)).inputs(ARRAY.inputs.astype(str))


def test_sixty_thousand_images_take_well_under_a_second():
    raw = np.random.default_rng(4).integers(0, 256, (60_000, 1, 28, 28), dtype=np.uint8)
    data = Dataset("i", "classification", raw, np.arange(60_000) % 3, ("u", "v", "w"), "")
    start = time.process_time()
    fit(data, np.arange(48_000)).inputs(raw)
    assert time.process_time() - start < 2  # half a second, and room for a busy machine
