"""Callbacks and a mixin for skorch: real trainings equal loops written by hand; schedules resume, folds are counted."""

import pickle

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import torchdropout as td

skorch = pytest.importorskip("skorch")
from sklearn.model_selection import GridSearchCV  # noqa: E402
from skorch.callbacks import Checkpoint, LoadInitState  # noqa: E402

from torchdropout.integrations.skorch import Constrain, DropoutSchedule, RegularizationMixin  # noqa: E402

N, BATCH = 48, 8
X = torch.randn(N, 5, generator=torch.Generator().manual_seed(0)).numpy()
Y = torch.randint(3, (N,), generator=torch.Generator().manual_seed(1)).numpy()
SEEN = []


class Network(nn.Module):
    """Its noise is that of its own count of batches, so that nothing else that draws matters; notes its rates."""

    def __init__(self, p=0.5):
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(nn.Linear(5, 8), nn.ReLU(), td.Dropout(p), td.VariationalLinear(8, 3))
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))

    def forward(self, x):
        if self.training:
            SEEN.append(self.layers[2].p)
            self.count += 1
        with td.keyed(int(self.count)):
            return self.layers(x)


class Net(RegularizationMixin, skorch.NeuralNetClassifier):
    pass


def net(*callbacks, base=Net, **options):
    SEEN.clear()
    options = {"max_epochs": 4, "train_split": None} | options
    return base(
        Network, criterion=nn.CrossEntropyLoss, optimizer=torch.optim.SGD, lr=0.5, batch_size=BATCH, verbose=0,
        callbacks=list(callbacks), **options,
    )  # fmt: skip


def by_hand(epochs=4, schedule=None, constraint=None, add=lambda model: 0.0):
    """The same training; also the rate at every batch."""
    SEEN.clear()
    model = Network().train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    if constraint is not None:
        td.constrain_(optimizer, model, constraint)
    scheduler = td.DropoutScheduler(model, schedule or td.schedules.Constant(), epochs * N // BATCH)
    for _ in range(epochs):
        for x, y in zip(torch.tensor(X).split(BATCH), torch.tensor(Y).split(BATCH), strict=True):
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x), y) + add(model)
            loss.backward()
            optimizer.step()
            scheduler.step()
    return model, list(SEEN)


def assert_same(one, other):
    for (name, p), q in zip(one.named_parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-6, atol=1e-7, msg=name)


def test_a_schedule_and_a_constraint_are_those_of_a_loop_by_hand():
    trained = net(
        DropoutSchedule(td.schedules.Curriculum()), Constrain(td.MaxNorm(0.7)), base=skorch.NeuralNetClassifier
    ).fit(X, Y)
    found = list(SEEN)
    model, rates = by_hand(4, td.schedules.Curriculum(), td.MaxNorm(0.7))
    assert found == pytest.approx(rates)
    assert len(set(found)) == 4 * N // BATCH
    assert_same(trained.module_, model)
    assert not trained.optimizer_._optimizer_step_post_hooks
    plain, _ = by_hand(4)
    assert not torch.allclose(plain.layers[0].weight, model.layers[0].weight, atol=1e-2)
    assert trained.history[:, "dropout_batch_count"] == [6, 12, 18, 24]
    factors = [td.schedules.Curriculum()(step, 24) for step in (6, 12, 18, 24)]
    assert trained.history[:, "dropout_factor"] == pytest.approx(factors)


def test_divergences_and_penalties_join_the_training_loss_alone():
    def add(model):
        return td.kl_loss(model, N, 0.5) + td.penalty(model, l2=0.01, filter_fn="layers.0.*")

    trained = net(warmup=0.5, l2=0.01, filter_fn="layers.0.*").fit(X, Y)
    model, _ = by_hand(4, add=add)
    assert_same(trained.module_, model)
    plain, _ = by_hand(4)
    assert not torch.allclose(plain.layers[0].weight, model.layers[0].weight, atol=1e-2)
    logits = trained.forward(X)
    y = torch.tensor(Y)
    torch.testing.assert_close(trained.get_loss(logits, y), F.cross_entropy(logits, y))
    apart = trained.get_loss(logits, y, training=True) - F.cross_entropy(logits, y)
    torch.testing.assert_close(apart, add(trained.module_))


def test_the_examples_of_a_fold_are_counted_and_a_number_given_is_used():
    split = skorch.dataset.ValidSplit(4, stratified=False)
    trained = net(max_epochs=1, train_split=split).fit(X, Y)
    assert trained.num_examples_ == N * 3 // 4
    logits, y = trained.forward(X), torch.tensor(Y)
    for num_data, expected in ((None, N * 3 // 4), (1000, 1000)):
        trained.num_data = num_data
        apart = trained.get_loss(logits, y, training=True) - trained.get_loss(logits, y)
        torch.testing.assert_close(apart, td.kl_loss(trained.module_, expected))


def test_a_search_over_penalties_clones_the_net():
    search = GridSearchCV(
        net(DropoutSchedule(td.schedules.Linear()), max_epochs=1), {"l2": [0.0, 0.1], "module__p": [0.2, 0.4]}, cv=2
    )
    search.fit(X, Y)
    assert len(search.cv_results_["params"]) == 4
    assert search.best_estimator_.l2 == search.best_params_["l2"]
    assert max(SEEN) < 0.4


@pytest.mark.parametrize("per", ["step", "epoch"])
def test_a_checkpoint_resumes_the_schedule(tmp_path, per):
    schedule, total = td.schedules.Linear(0.2, 0.8), 4 * N // BATCH if per == "step" else 4
    whole = net(DropoutSchedule(schedule, total, per)).fit(X, Y)
    expected = list(SEEN)
    kept = Checkpoint(dirname=tmp_path, monitor=None)
    net(DropoutSchedule(schedule, total, per), kept, max_epochs=2).fit(X, Y)
    first = list(SEEN)
    again = net(
        LoadInitState(Checkpoint(dirname=tmp_path, monitor=None)), DropoutSchedule(schedule, total, per), max_epochs=2
    )
    again.fit(X, Y)
    assert first + list(SEEN) == pytest.approx(expected)
    assert_same(again.module_, whole.module_)


def test_partial_fits_and_pickles_go_on_and_a_new_fit_begins_anew():
    schedule = td.schedules.Linear(0.2, 0.4)
    trained = net(DropoutSchedule(schedule, 4, "epoch"), max_epochs=1)
    expected = [0.5 * (0.2 + 0.2 * epoch / 4) for epoch in range(4) for _ in range(N // BATCH)]
    trained.fit(X, Y)
    trained.partial_fit(X, Y)
    copied = pickle.loads(pickle.dumps(trained))
    copied.partial_fit(X, Y)
    copied.partial_fit(X, Y)
    assert list(SEEN) == pytest.approx(expected)
    (callback,) = (each for _, each in copied.callbacks_ if isinstance(each, DropoutSchedule))
    assert isinstance(callback.module_, nn.Module)
    assert not any(isinstance(value, nn.Module) for value in callback.__getstate__().values())
    SEEN.clear()
    copied.set_params(max_epochs=4).fit(X, Y)
    assert list(SEEN) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: net(DropoutSchedule(td.schedules.Linear(), per="batch")), "`per` must be one of 'step', 'epoch'"),
        (lambda: net(DropoutSchedule(td.schedules.Linear(), filter_fn=lambda *_: False)), "`filter_fn` chose none"),
        (lambda: net(Constrain(td.MaxNorm(), lambda *_: False)), "`filter_fn` must choose a weight"),
        (lambda: net(warmup=2.0), "regularization_loss: `warmup` must be in"),
        (lambda: net(num_data=-1), "regularization_loss: `num_data` must be positive"),
    ],
)
def test_what_cannot_be_done_is_refused_in_one_sentence(make, message):
    with pytest.raises(ValueError, match=message):
        make().fit(X, Y)
