import math
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from torchdropout.study import CompareConfig, StudyError, commands, comparison
from torchdropout.study.config import available_cores, from_settings

BAD = {
    "folds": (0, "`folds` must be at least 1, got 0"),
    "repeats": (0, "`repeats` must be at least 1, got 0"),
    "max_examples": (0, "`max_examples` must be at least 1, got 0"),
    "mc": (0, "`mc` must be at least 1, got 0"),
    "patience": (0, "`patience` must be at least 1, got 0"),
    "widths": ((50, 0), "`widths` must be at least 1, got 0"),
    "weight_decay": (-0.1, r"`weight_decay` must be a finite number from 0, got -0\.1"),
    "optimizer": ("adagrad", "`optimizer` must be one of adam, adamw, sgd, got 'adagrad'"),
    "schedule": ("step", "`schedule` must be one of constant, cosine, got 'step'"),
    "autocast": ("int8", "`autocast` must be one of none, bfloat16, float16, got 'int8'"),
    "task": ("ranking", "`task` must be one of classification, regression, got 'ranking'"),
    "seeds": (0, "`seeds` must be at least 1, got 0"),
    "epochs": (0, "`epochs` must be at least 1, got 0"),
    "batch_size": (0, "`batch_size` must be at least 1, got 0"),
    "jobs": (0, "`jobs` must be at least 1, got 0"),
    "lr": (0.0, r"`lr` must be a positive, finite number, got 0\.0"),
    "model": ("rnn", "`model` must be one of linear, mlp, cnn, transformer, lstm, module:factory, got 'rnn'"),
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


def test_repeats_need_folds():
    with pytest.raises(StudyError, match="`repeats` must be 1 where `folds` is 1, got 2"):
        CompareConfig(folds=1, repeats=2)


def test_what_may_change_when_a_study_goes_on():
    config = CompareConfig()
    assert config.numbers_differ(CompareConfig(jobs=3, out=Path("x"), data_dir=Path("y"))) == []
    assert config.numbers_differ(CompareConfig(epochs=3, lr=0.1)) == ["epochs", "lr"]


@pytest.mark.parametrize(
    "config",
    [
        CompareConfig(),
        CompareConfig(data="a file.csv", target="the price", log_target=True, task="regression", p=(0.1, 0.5)),
        CompareConfig(data="a file.csv", target="-1", text="what they said", model="lstm", methods=("all",)),
        CompareConfig(
            model="cnn", methods=("none", "dropout2d"), folds=2, repeats=3, seeds=4, epochs=5, patience=6, batch_size=7,
            lr=0.125, optimizer="sgd", weight_decay=1e-4, schedule="cosine", autocast="bfloat16", jobs=2,
            mc=50, max_examples=100, widths=(9, 8), p_by_width=True, data_dir=Path("d"), out=Path("o"),
        ),
    ],
)  # fmt: skip
def test_the_command_of_a_study_runs_that_study(config, monkeypatch):
    def keep(*, resume, watcher, **settings):
        found.append(from_settings(settings))
        raise StudyError("enough")

    found = []
    monkeypatch.setattr(comparison, "compare", keep)
    CliRunner().invoke(commands.app, shlex.split(config.command())[1:])
    assert found == [config]


def test_json_and_back():
    config = CompareConfig(p=(0.5,), out=Path("there"), patience=3)
    assert from_settings(config.to_json()) == config
