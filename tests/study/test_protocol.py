from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from torchdropout.study import CompareConfig, StudyError
from torchdropout.study.conditions import Condition
from torchdropout.study.data import Dataset
from torchdropout.study.protocol import Run, folds, plan, random_state, scaled


@pytest.mark.parametrize("count", [2, 3, 7])
def test_folds_divide_the_examples_and_keep_the_proportions(digits, count):
    found = folds(digits.labels, count)
    assert len(found) == count
    assert sorted(np.concatenate([validation for _, validation in found])) == list(range(len(digits.labels)))
    for training, validation in found:
        assert sorted([*training, *validation]) == list(range(len(digits.labels)))
        for label, total in Counter(digits.labels.tolist()).items():
            assert abs((digits.labels[validation] == label).sum() - total / count) < 1 + 1e-9


def test_folds_are_shuffled_and_the_same_each_time(digits):
    first, again, other = folds(digits.labels, 3), folds(digits.labels, 3), folds(digits.labels, 3, repeat=1)
    assert all(np.array_equal(a[1], b[1]) for a, b in zip(first, again, strict=True))
    assert not np.array_equal(first[0][1], other[0][1])
    assert first[0][1].max() > len(digits.labels) * 0.9


def test_a_class_with_too_few_examples():
    labels = np.array([0] * 9 + [1] * 2)
    with pytest.raises(StudyError, match="an example for each of the 3 folds, class 1 has 2"):
        folds(labels, 3)


def test_seeds_of_a_run_do_not_depend_on_its_condition():
    runs = plan(CompareConfig(folds=3, seeds=2), (Condition("none"), Condition("dropout", 0.5)))
    states = {(run.fold, run.seed): random_state(run) for run in runs if run.condition.method == "none"}
    assert all(random_state(run) == states[run.fold, run.seed] for run in runs)
    words = [word for state in states.values() for word in (state.parameters, state.order, state.noise)]
    assert len(set(words)) == len(words) == 18


def test_plan_has_every_run_once():
    conditions = (Condition("none"), Condition("dropout", 0.5), Condition("dropout", 0.2))
    runs = plan(CompareConfig(folds=3, seeds=2), conditions)
    assert len(runs) == len(set(runs)) == 18
    assert set(runs) == {Run(c, 0, fold, seed) for c in conditions for fold in range(3) for seed in range(2)}


def test_scaling_is_fitted_on_the_training_part(few):
    fold = folds(few.labels, 2)[0]
    training, validation = scaled(few, fold)
    part = few.inputs[fold[0]].astype(np.float64)
    np.testing.assert_allclose(training.inputs.numpy(), (part - part.mean()) / part.std(), rtol=0, atol=1e-5)
    expected = (few.inputs[fold[1]].astype(np.float64) - part.mean()) / part.std()
    np.testing.assert_allclose(validation.inputs.numpy(), expected, rtol=0, atol=1e-5)
    np.testing.assert_array_equal(validation.labels.numpy(), few.labels[fold[1]])


def test_scaling_ignores_validation_values(few):
    fold = folds(few.labels, 2)[0]
    inputs = few.inputs.copy()
    inputs[fold[1]] += 100
    before, after = scaled(few, fold), scaled(replace(few, inputs=inputs), fold)
    assert before[0].inputs.equal(after[0].inputs)
    assert float(after[1].inputs.mean()) > float(before[1].inputs.mean()) + 10


def test_constant_images_stay_finite():
    flat = Dataset("flat", np.full((8, 1, 2, 2), 7, np.uint8), np.array([0, 1] * 4), 2, "")
    training, validation = scaled(flat, folds(flat.labels, 2)[0])
    assert not training.inputs.any()
    assert not validation.inputs.any()
