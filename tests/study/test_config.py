import math
from pathlib import Path

import pytest

from torchdropout.study import CompareConfig, StudyError
from torchdropout.study.config import available_cores, from_settings

BAD = {
    "folds": (1, "`folds` must be at least 2, got 1"),
    "seeds": (0, "`seeds` must be at least 1, got 0"),
    "epochs": (0, "`epochs` must be at least 1, got 0"),
    "batch_size": (0, "`batch_size` must be at least 1, got 0"),
    "jobs": (0, "`jobs` must be at least 1, got 0"),
    "lr": (0.0, r"`lr` must be a positive, finite number, got 0\.0"),
    "model": ("rnn", "`model` must be one of mlp, cnn, got 'rnn'"),
    "methods": ((), "`methods` must name at least one method"),
}


@pytest.mark.parametrize("name", BAD)
def test_each_rule(name):
    value, sentence = BAD[name]
    with pytest.raises(StudyError, match=f"compare: {sentence}"):
        CompareConfig(**{name: value})


@pytest.mark.parametrize("value", [-0.1, 1.1, math.nan, math.inf])
def test_p_is_a_probability(value):
    with pytest.raises(StudyError, match=r"`p` must be in \[0, 1\], got"):
        CompareConfig(p=(0.5, value))


@pytest.mark.parametrize("value", [-1e-3, math.nan, math.inf])
def test_lr_is_positive_and_finite(value):
    with pytest.raises(StudyError, match="`lr` must be a positive"):
        CompareConfig(lr=value)


@pytest.mark.parametrize("settings", [{"methods": ("none", "none")}, {"p": (0.5, 0.2, 0.5)}])
def test_nothing_is_named_twice(settings):
    with pytest.raises(StudyError, match="must not name the same value twice"):
        CompareConfig(**settings)


def test_settings_take_lists_and_strings():
    config = from_settings({"methods": ["none"], "p": [], "out": "there"})
    assert config == CompareConfig(methods=("none",), out=Path("there"))


def test_unknown_setting_is_a_type_error():
    with pytest.raises(TypeError, match="fold"):
        from_settings({"fold": 3})


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"methods": "dropout"}, "`methods` must be a list, got 'dropout'"),
        ({"p": 0.5}, r"`p` must be a list, got 0\.5"),
        ({"folds": 2.5}, r"`folds` must be an integer, got 2\.5"),
        ({"jobs": "2"}, "`jobs` must be an integer, got '2'"),
    ],
)
def test_another_type(settings, sentence):
    with pytest.raises(TypeError, match=f"compare: {sentence}"):
        from_settings(settings)


def test_one_worker_per_core_unless_told():
    assert CompareConfig().workers == available_cores() >= 1
    assert CompareConfig(jobs=7).workers == 7
