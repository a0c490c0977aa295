"""Names of conditions: taken apart, put together, refused."""

import pytest

from torchdropout import DropoutScheduler, catalog, schedules
from torchdropout.study import CompareConfig, StudyError, additions, naming
from torchdropout.study.conditions import Condition, Placed
from torchdropout.study.config import from_settings
from torchdropout.study.expansion import expand
from torchdropout.study.models import build


def of(*methods, **settings):
    return expand(from_settings({"methods": methods, **settings}))


@pytest.mark.parametrize(
    ("text", "label", "placed"),
    [
        ("l2", "l2 lambda=0.0001", Placed("none", None, (("l2", 1e-4),))),
        ("dropout+maxnorm", "dropout p=0.5 + maxnorm c=3", Placed("dropout", 0.5, (("maxnorm", 3.0),))),
        ("maxnorm+dropout", "maxnorm c=3 + dropout p=0.5", Placed("dropout", 0.5, (("maxnorm", 3.0),))),
        ("rdrop", "rdrop alpha=1", Placed("dropout", 0.5, (("rdrop", 1.0),))),
        ("gaussian-noise + rdrop", "gaussian-noise std=0.2 + rdrop alpha=1",
         Placed("gaussian-noise", 0.2, (("rdrop", 1.0),))),
        ("log-normal+l1", "log-normal + l1 lambda=1e-05", Placed("log-normal", None, (("l1", 1e-5),))),
        ("rdrop+l2+maxnorm+l1", "rdrop alpha=1 + l2 lambda=0.0001 + maxnorm c=3 + l1 lambda=1e-05",
         Placed("dropout", 0.5, (("l1", 1e-5), ("l2", 1e-4), ("maxnorm", 3.0), ("rdrop", 1.0)))),
        ("multisample", "multisample M=8", Placed("dropout", 0.5, (("multisample", 8.0),))),
        ("curriculum+rdrop", "curriculum gamma=10 + rdrop alpha=1",
         Placed("dropout", 0.5, (("rdrop", 1.0), ("curriculum", 10.0)))),
        ("recipe", "recipe factor=10", Placed("dropout", 0.5, (("recipe", 10.0),))),
    ],
)  # fmt: skip
def test_what_a_name_means(text, label, placed):
    (condition,) = of(text)
    assert condition.label == label
    assert condition.placed == (placed,)
    assert Placed.from_json(placed.to_json()) == placed


def test_the_kinds_of_noise_of_every_built_in_model():
    (condition,) = of("drop-path+rdrop", model="transformer")
    assert condition.placed == (Placed("drop-path", 0.1, (("rdrop", 1.0),)),)


REFUSED = {
    "unknown": (["elastik"], "no method is called 'elastik'. Did you mean 'elastic'?"),
    "unknown in a pair": (
        ["dropout+maxnrom"],
        "'dropout+maxnrom': no method is called 'maxnrom'. Did you mean 'maxnorm'?",
    ),
    "nothing after the plus": (["dropout+"], "`methods` must be names, several of them joined by +, got 'dropout+'."),
    "nothing": ([""], "`methods` must be names, several of them joined by +, got ''."),
    "twice": (["dropout+l2+l2"], "'dropout+l2+l2' must not name the same thing twice, got l2 2 times."),
    "none and noise": (["none+dropout"], "'none+dropout' must not join none, the plain network, with anything."),
    "none and a penalty": (["l2+none"], "'l2+none' must not join none, the plain network, with anything."),
    "two noise methods": (
        ["dropout+l2+gaussian"],
        "names two noise methods, dropout and gaussian: a difference could be",
    ),
    "two objectives": (["rdrop+multisample"], "joins rdrop and multisample: each says how often the network is run"),
    "two schedules": (["early-dropout+curriculum"], "each says how high the drop probabilities are at a step."),
    "two bounds": (["recipe+maxnorm"], "joins maxnorm and recipe: the recipe has a max-norm of its own."),
    "samples of something else": (
        ["gaussian+multisample"],
        "no noise but dropout, of which multisample is made, got gau",
    ),
    "a recipe of something else": (
        ["gaussian+recipe"],
        "must have no noise but dropout, of which recipe is made, got gau",
    ),
    "no rate": (["gaussian-noise+curriculum"], "changes drop probabilities, and gaussian-noise has none that are set."),
    "a learned rate": (["concrete+early-dropout"], "changes drop probabilities, and concrete has none that are set."),
    "the other order": (["dropout+l2", "l2+dropout"], "not name the same thing twice, got dropout+l2 and l2+dropout."),
    "what is implied": (["rdrop", "dropout+rdrop"], "not name the same thing twice, got rdrop and dropout+rdrop."),
    "with spaces": (["l2", " l2"], "`methods` must not name the same thing twice, got l2 and l2."),
    "all and more": (["all", "l2"], "`methods` must name nothing besides 'all', got all, l2."),
}


@pytest.mark.parametrize(("methods", "sentence"), REFUSED.values(), ids=REFUSED.keys())
def test_what_does_not_go_together(methods, sentence):
    with pytest.raises(StudyError) as caught:
        of(*methods)
    assert str(caught.value).startswith("compare: ")
    assert sentence in str(caught.value)


@pytest.mark.parametrize("name", ["maxnorm", "recipe"])
def test_a_model_without_hidden_layers(name):
    with pytest.raises(StudyError, match=f"'{name}' cannot be placed in model 'linear': it fits mlp and cnn and"):
        of(name, model="linear")


def test_strengths_by_name():
    given = {"l2": [1e-4, 1e-2], "gaussian-noise": [0.1, 0.3], "dropout": [0.1]}
    found = of("none", "dropout+l2", "gaussian-noise", "rdrop", "gaussian", p=[0.2, 0.4], strength=given)
    assert [condition.label for condition in found] == [
        "none",
        "dropout p=0.1 + l2 lambda from 0.0001, 0.01",
        "gaussian-noise std from 0.1, 0.3",
        "rdrop alpha=1",
        "gaussian p from 0.2, 0.4",
    ]
    assert found[3].candidates == (0.1,)
    assert found[4].candidates == (0.2, 0.4)


def test_strengths_of_several_kinds_are_chosen_together():
    (condition,) = of("dropout+l2+maxnorm", p=[0.2, 0.4], strength={"l2": [1e-4, 1e-2]})
    assert condition.placed == tuple(
        Placed("dropout", p, (("l2", weight), ("maxnorm", 3.0))) for p in (0.2, 0.4) for weight in (1e-4, 1e-2)
    )


BAD = {
    "alpha below 0": (["rdrop"], {"rdrop": [-1.0]}, "the strength of rdrop must be finite and not negative, got -1."),
    "c of 0": (["maxnorm"], {"maxnorm": [0.0]}, "the strength of maxnorm must be positive and finite, got 0."),
    "no number": (["l1"], {"l1": [float("nan")]}, "the strength of l1 must be finite and not negative, got nan."),
    "half a sample": (["multisample"], {"multisample": [2.5]}, "must be a whole number from 1, got 2.5."),
    "no sample": (["multisample"], {"multisample": [0]}, "must be a whole number from 1, got 0."),
    "beyond the end": (["early-dropout"], {"early-dropout": [1.1]}, r"must be in \[0, 1\], got 1.1."),
    "noise": (["dropout"], {"dropout": [1.5]}, r"the strength of dropout must be in \[0, 1\], got 1.5."),
    "not compared": (["none"], {"l2": [0.1]}, "`strength` was given for l2, which takes none or is not in none."),
    "without a strength": (["log-normal"], {"log-normal": [1]}, "was given for log-normal, which takes none or is"),
    "plain": (["none"], {"none": [1]}, "`strength` was given for none, which takes none or is not in none."),
    "unknown": (["l2"], {"l22": [1]}, "`strength`: no method is called 'l22'. Did you mean 'l2'"),
    "no value": (["l2"], {"l2": []}, "`strength` must have values for l2, got none."),
    "one value twice": (["l2"], {"l2": [1, 1]}, "`strength` must not name the same value twice, got 1.0 2 times."),
}


@pytest.mark.parametrize(("methods", "strength", "sentence"), BAD.values(), ids=BAD.keys())
def test_strengths_that_break_a_rule(methods, strength, sentence):
    with pytest.raises(StudyError, match=f"compare: .*{sentence}"):
        of(*methods, strength=strength)


def test_the_recipe_needs_units_that_are_kept():
    with pytest.raises(StudyError, match=r"`p` must be below 1 for recipe, .* got 1\."):
        of("recipe", p=[0.5, 1.0])


@pytest.mark.parametrize("strength", [["l2=1"], {"l2": 1e-4}, {"l2": "1e-4"}, 3])
def test_strengths_of_another_type(strength):
    with pytest.raises(TypeError, match="compare: `(strength|l2)` must be a "):
        from_settings({"methods": ["l2"], "strength": strength})


def test_settings_survive_json_and_the_command_line():
    config = from_settings({"methods": ["dropout+l2"], "strength": {"l2": [1e-4, 1e-2], "dropout": [0.3]}})
    assert from_settings(config.to_json()) == config
    assert config.to_json()["strength"] == {"l2": [1e-4, 1e-2], "dropout": [0.3]}
    command = config.command()
    assert command.endswith("--methods dropout+l2 --strength l2=0.0001,0.01 --strength dropout=0.3")
    assert CompareConfig().to_json()["strength"] == {}


def test_labels_of_noise_alone_are_as_they_were():
    assert Condition("dropout", (0.1, 0.2)).label == "dropout p from 0.1, 0.2"
    assert Condition("dropout", (0.1,)).name == "dropout"
    assert Condition("none").label == "none"


def test_names_of_additions_are_no_methods():
    assert not set(additions.names()) & set(catalog.names())
    assert len(naming.known()) == len(set(naming.known()))


@pytest.mark.parametrize("row", [row for row in catalog.METHODS if row.argument], ids=lambda row: row.name)
def test_which_methods_have_a_probability_to_schedule(row):
    """What the table of methods leads one to expect is what a scheduler finds in the network."""
    model = row.models[-1]
    shape = (12,) if model == "lstm" else (1, *(8,) * (row.dims or 2))
    config = CompareConfig(model=model, activation="selu" if row.needs_selu else "relu")
    strength = 0.4 if row.argument == "p" else row.default
    network = build(config, shape, 3, Placed(row.name, strength), vocabulary=9 if model == "lstm" else 0)
    try:
        found = any(p > 0 for p in DropoutScheduler(network, schedules.Constant(), 1).rates.values())
    except ValueError:
        found = False
    assert naming.has_rate(row) == found
