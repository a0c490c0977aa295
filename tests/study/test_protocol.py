from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from torchdropout.study import CompareConfig, StudyError
from torchdropout.study.conditions import Condition
from torchdropout.study.protocol import Run, divide, everything, judge, plan, random_state


def folds(data, count, repeat=0):
    found = divide(CompareConfig(folds=count, repeats=repeat + 1), data)
    return [found[repeat, number] for number in range(count)]


@pytest.mark.parametrize("count", [2, 3, 7])
def test_folds_divide_the_examples_and_keep_the_proportions(digits, count):
    found = folds(digits, count)
    assert sorted(np.concatenate([fold.val for fold in found])) == list(range(len(digits.targets)))
    for fold in found:
        assert sorted([*fold.train, *fold.val]) == list(range(len(digits.targets)))
        for label, total in Counter(digits.targets.tolist()).items():
            assert abs((digits.targets[fold.val] == label).sum() - total / count) < 1 + 1e-9


def test_folds_are_shuffled_the_same_each_time_and_new_in_each_repeat(digits):
    first, again, other = folds(digits, 3), folds(digits, 3), folds(digits, 3, repeat=1)
    assert all(np.array_equal(a.val, b.val) for a, b in zip(first, again, strict=True))
    assert not np.array_equal(first[0].val, other[0].val)
    assert first[0].val.max() > len(digits.targets) * 0.9


@pytest.mark.parametrize("name", ["few", "line"])
def test_the_inner_parts_divide_the_training_part_alone(name, request):
    for fold in folds(request.getfixturevalue(name), 3):
        assert sorted([*fold.inner_train, *fold.inner_val]) == sorted(fold.train)
        assert len(fold.inner_val) == pytest.approx(0.2 * len(fold.train), abs=1)
        assert not set(fold.inner_val) & set(fold.val)


def test_the_inner_part_keeps_the_proportions(digits):
    fold = folds(digits, 3)[0]
    for label in range(10):
        assert (digits.targets[fold.inner_val] == label).sum() == pytest.approx(
            0.2 * (digits.targets[fold.train] == label).sum(), abs=1
        )


def test_all_training_data_may_learn_where_the_test_split_judges(few):
    given = replace(few, test_inputs=few.inputs[:20], test_targets=few.targets[:20])
    (fold,) = folds(given, 1)
    assert list(fold.train) == list(everything(few).train) == list(range(200))
    assert fold.val.size == 0
    assert judge(CompareConfig(folds=1), given) == "test"
    assert judge(CompareConfig(folds=2), given) == "val"
    with pytest.raises(StudyError, match="`folds` must be at least 2, got 1, and few has no given test split"):
        judge(CompareConfig(folds=1), few)


def test_a_class_with_too_few_examples(few):
    rare = np.where(few.targets == 7)[0]
    kept = np.setdiff1d(np.arange(200), rare[2:])
    data = replace(few, inputs=few.inputs[kept], targets=few.targets[kept])
    with pytest.raises(StudyError, match="an example for each of the 3 folds, class '7' has 2"):
        folds(data, 3)


def test_too_few_examples(line):
    with pytest.raises(StudyError, match="40 folds need 83 examples, got 60"):
        folds(line, 40)


def test_seeds_of_a_run_are_all_different_and_know_no_condition():
    keys = [(repeat, fold, seed) for repeat in range(2) for fold in range(3) for seed in range(2)]
    words = [word for key in keys for word in vars_of(random_state(*key))]
    assert len(set(words)) == len(words) == 36
    assert random_state(1, 2, 0) == random_state(1, 2, 0)


def vars_of(state):
    return state.parameters, state.order, state.noise


def test_plan_has_every_run_once_and_all_conditions_alike():
    conditions = (Condition("none"), Condition("dropout", (0.5,)), Condition("gaussian", (0.2, 0.5)))
    runs = plan(CompareConfig(folds=3, seeds=2, repeats=2), conditions)
    expected = {Run(c, r, f, s) for c in conditions for r in range(2) for f in range(3) for s in range(2)}
    assert set(runs) == expected
    assert len(runs) == len({run.key for run in runs}) == 36
    assert [run.condition for run in runs[:3]] == list(conditions)
