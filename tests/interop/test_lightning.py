"""Callbacks for Lightning: real trainings equal loops written by hand, schedules resume, hooks are taken off again."""

import subprocess
import sys

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

import torchdropout as td

L = pytest.importorskip("lightning.pytorch")
from torchdropout.integrations.lightning import Constrain, DropoutMonitor, DropoutSchedule  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")  # Lightning's advice on workers and loggers
BATCHES, NUM_DATA = 6, 48
X = torch.randn(NUM_DATA, 5, generator=torch.Generator().manual_seed(0))
Y = torch.randint(3, (NUM_DATA,), generator=torch.Generator().manual_seed(1))


def network(p=0.5):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 8), nn.ReLU(), td.Dropout(p), td.VariationalLinear(8, 3))


class Module(L.LightningModule):
    """Its noise is the batch's number's, so that nothing else that draws matters."""

    def __init__(self, p=0.5):
        super().__init__()
        self.net, self.rates, self.norms = network(p), [], []

    def training_step(self, batch, index):
        self.rates.append(self.net[2].p)
        self.norms.append(float(self.net[0].weight.detach().norm(dim=1).max()))
        return loss_of(self.net, batch, index)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.5)


def loss_of(net, batch, index):
    with td.keyed(index):
        return F.cross_entropy(net(batch[0]), batch[1]) + td.kl_loss(net, NUM_DATA)


def loader():
    return DataLoader(TensorDataset(X, Y), batch_size=NUM_DATA // BATCHES)


def fit(module, tmp_path, *callbacks, ckpt_path=None, **options):
    options = {"max_epochs": 4} | options
    trainer = L.Trainer(
        accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False,
        default_root_dir=tmp_path, callbacks=list(callbacks), **options,
    )  # fmt: skip
    trainer.fit(module, loader(), ckpt_path=ckpt_path)
    return trainer


def by_hand(epochs=4, accumulate=1, schedule=None, constraint=None):
    """The same training; also the rate at every batch."""
    net, rates = network(), []
    optimizer = torch.optim.SGD(net.parameters(), lr=0.5)
    if constraint is not None:
        td.constrain_(optimizer, net, constraint)
    if schedule is not None:
        scheduler = td.DropoutScheduler(net, schedule, epochs * BATCHES // accumulate)
    for _ in range(epochs):
        for index, batch in enumerate(loader()):
            rates.append(net[2].p)
            (loss_of(net, batch, index) / accumulate).backward()
            if (index + 1) % accumulate == 0:
                optimizer.step()
                optimizer.zero_grad()
                if schedule is not None:
                    scheduler.step()
    return net, rates


def assert_same(one, other):
    for (name, p), q in zip(one.named_parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-6, atol=1e-7, msg=name)


@pytest.mark.parametrize("accumulate", [1, 2, 3])
def test_a_schedule_and_a_constraint_are_those_of_a_loop_by_hand(tmp_path, accumulate):
    module = Module()
    callbacks = DropoutSchedule(td.schedules.Curriculum()), Constrain(td.MaxNorm(0.7))
    trainer = fit(module, tmp_path, *callbacks, accumulate_grad_batches=accumulate)
    net, rates = by_hand(4, accumulate, td.schedules.Curriculum(), td.MaxNorm(0.7))
    assert module.rates == pytest.approx(rates)
    assert len(set(module.rates)) == 4 * BATCHES // accumulate
    assert_same(module.net, net)
    plain, _ = by_hand(4, accumulate)
    assert not torch.allclose(plain[0].weight, net[0].weight, atol=1e-2)  # what is compared does something
    assert max(module.norms) <= 0.7 + 1e-6
    assert not trainer.optimizers[0]._optimizer_step_post_hooks


def test_epochs_are_counted_where_they_are_asked_for(tmp_path):
    module = Module()
    fit(module, tmp_path, DropoutSchedule(td.schedules.Linear(), per="epoch"))
    assert module.rates == pytest.approx([0.5 * epoch / 4 for epoch in range(4) for _ in range(BATCHES)])


@pytest.mark.parametrize("per", ["step", "epoch"])
def test_a_checkpoint_resumes_the_schedule(tmp_path, per):
    whole = Module()
    schedule = td.schedules.Linear(0.2, 0.8)
    total = 4 * BATCHES if per == "step" else 4
    fit(whole, tmp_path, DropoutSchedule(schedule, total, per))
    half = Module()
    trainer = fit(half, tmp_path, DropoutSchedule(schedule, total, per), max_epochs=2)
    trainer.save_checkpoint(tmp_path / "half.ckpt")
    rest = Module()
    callback = DropoutSchedule(schedule, total, per)
    fit(rest, tmp_path, callback, ckpt_path=tmp_path / "half.ckpt")
    assert half.rates + rest.rates == pytest.approx(whole.rates)
    assert callback.scheduler.taken == total
    assert_same(rest.net, whole.net)


def test_a_second_fit_goes_on_and_another_trainer_begins_anew(tmp_path):
    module, callback = Module(), DropoutSchedule(td.schedules.Linear(0.2, 0.4), total=4, per="epoch")
    trainer = fit(module, tmp_path, callback, max_epochs=2)
    trainer.fit_loop.max_epochs = 4
    trainer.fit(module, loader())
    expected = [0.5 * (0.2 + 0.2 * epoch / 4) for epoch in range(4) for _ in range(BATCHES)]
    assert module.rates == pytest.approx(expected)
    module.rates.clear()
    fit(module, tmp_path, callback)
    assert module.rates == pytest.approx(expected)  # of the full strength 0.5, not of what the schedule left
    other = Module(0.25)
    fit(other, tmp_path, callback)
    assert other.rates == pytest.approx([rate / 2 for rate in expected])


def test_rates_and_the_divergence_are_logged(tmp_path):
    module = Module()
    trainer = fit(module, tmp_path, DropoutSchedule(td.schedules.Linear(), per="epoch"), DropoutMonitor(), max_epochs=2)
    assert float(trainer.callback_metrics["dropout/net.2"]) == pytest.approx(0.5)
    assert float(trainer.callback_metrics["kl"]) == pytest.approx(float(module.net[3].kl().detach()), rel=1e-5)


def test_two_schedules_of_one_trainer_are_kept_apart(tmp_path):
    def one(layer, name):
        return name == "net.2"

    callbacks = [
        DropoutSchedule(td.schedules.Linear(), filter_fn=one),
        DropoutSchedule(td.schedules.Late(), per="epoch"),
    ]
    assert callbacks[0].state_key != callbacks[1].state_key


@pytest.mark.parametrize(
    ("callback", "options", "message"),
    [
        (lambda: DropoutSchedule(td.schedules.Linear()), {"max_epochs": -1, "max_time": {"seconds": 1}},
         "DropoutSchedule: `total` must be given where the trainer has no end"),
        (lambda: DropoutSchedule(td.schedules.Linear(), per="batch"), {}, "`per` must be one of 'step', 'epoch'"),
        (lambda: DropoutSchedule(td.schedules.Linear(), filter_fn=lambda *_: False), {}, "`filter_fn` chose none"),
        (lambda: Constrain(td.MaxNorm(), lambda *_: False), {}, "`filter_fn` must choose a weight"),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_refused_in_one_sentence(tmp_path, callback, options, message):
    with pytest.raises(ValueError, match=message):
        fit(Module(), tmp_path, callback(), **options)


def test_sharded_weights_are_refused():
    class FSDPStrategy:
        pass

    class Trainer:
        strategy, optimizers = FSDPStrategy(), []

    with pytest.raises(ValueError, match="Constrain: each process must hold whole weights, got the strategy FSDPStr"):
        Constrain(td.MaxNorm()).on_train_start(Trainer(), Module())


@pytest.mark.parametrize("framework", ["lightning", "transformers", "skorch"])
def test_a_missing_framework_is_named_in_one_sentence(framework):
    code = f"import sys; sys.modules[{framework!r}] = None; import torchdropout.integrations.{framework}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith(f"ImportError: torchdropout.integrations.{framework}: the package {framework} must be inst")
    assert f"pip install 'torchdropout[{framework}]'" in last


def test_the_package_itself_loads_no_framework():
    code = "import sys, torchdropout, torchdropout.integrations; print(*(set(sys.modules) & {'lightning', 'skorch'}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
