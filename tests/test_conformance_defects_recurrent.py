"""Recurrent layers that are wrong in ways that were seen in published code: the suite must reject each.

A wrong layer takes the place of `LSTM` in the declaration of a kind. Both layers that the wrong ones are made of are
right themselves, and pass.
"""

import contextlib

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import torchdropout as td
from torchdropout.testing import run_check
from torchdropout.testing.declared import declared


@contextlib.contextmanager
def drawing_from(key):
    """PyTorch's random numbers, from the key if there is one."""
    with torch.random.fork_rng(devices=[]) if key is not None else contextlib.nullcontext():
        if key is not None:
            torch.manual_seed(int(key[0]))
        yield


class Looped(td.LSTM):
    """Every kind in a loop over steps, with PyTorch's random numbers; for one layer and direction, batch first."""

    def kept(self, p, *shape):
        return (torch.rand(shape) >= p).to(self.weight_hh_l0.dtype)

    def inverted(self, p, *shape):
        return self.kept(p, *shape) / (1 - p) if p < 1 else torch.zeros(shape, dtype=self.weight_hh_l0.dtype)

    def masks(self, kind, steps, n):
        """What multiplies, by the name of `step`'s argument; all have an axis of time."""
        h, live = self.hidden_size, self.training
        if isinstance(kind, td.Zoneout):
            return {name: self.zone(getattr(kind, name), steps, n) for name in ("cell", "hidden")}
        if isinstance(kind, td.CellDropout):
            return {"forget": self.kept(kind.p, 1, n, h)} if live else {"leaving": torch.tensor([1 - kind.p])}
        if not live:
            return {}
        if isinstance(kind, td.Variational):
            gates = 1 if kind.tied else 4
            of_input = self.inverted(kind.input, 1, n, gates, self.input_size)
            return {"inputs": of_input, "states": self.inverted(kind.hidden, 1, n, gates, h)}
        if isinstance(kind, td.UpdateDropout):
            return {"update": self.inverted(kind.p, steps if kind.per == "step" else 1, n, h)}
        return {"weight": self.inverted(kind.p, 1, 4, h, h)}

    def zone(self, p, steps, n):
        shape = steps, n, self.hidden_size
        return 1 - self.kept(p, *shape) if self.training else torch.full(shape, p, dtype=self.weight_hh_l0.dtype)

    def step(self, x, h, c, *, inputs=1, states=1, weight=1, forget=1, update=1, cell=0, hidden=0, leaving=1):
        size = self.hidden_size
        w, u = (t.view(4, size, -1) for t in (self.weight_ih_l0, self.weight_hh_l0))
        a = torch.einsum("qhi,nqi->nqh", w, (x[:, None] * inputs).expand(-1, 4, -1)) + self.bias_ih_l0.view(4, -1)
        a = a + torch.einsum("qhi,nqi->nqh", u * weight, (h[:, None] * states).expand(-1, 4, -1))
        i, f, g, o = (a + self.bias_hh_l0.view(4, -1)).unbind(1)
        new_c = forget * self.remembered(f.sigmoid() * c, i.sigmoid() * g.tanh(), update)
        new_h = leaving * o.sigmoid() * self.shown(new_c, c, cell).tanh()
        return self.zoned(new_h, h, hidden), self.zoned(new_c, c, cell)

    def remembered(self, old, new, mask):
        return old + new * mask

    def shown(self, new_c, c, zone):
        return new_c

    def zoned(self, new, old, zone):
        return zone * old + (1 - zone) * new

    def forward(self, x, hx=None, *, key=None):
        h = c = x.new_zeros(len(x), self.hidden_size)
        with drawing_from(key):
            masks, outputs = self.masks(self.recurrent[0], x.shape[1], len(x)), []
        for t in range(x.shape[1]):
            h, c = self.step(x[:, t], h, c, **{name: m[t if len(m) > 1 else 0] for name, m in masks.items()})
            outputs.append(h)
        return torch.stack(outputs, 1), (h[None], c[None])


class Dropped(td.LSTM):
    """Weight drop as it is usually written: PyTorch's layer is run with other matrices."""

    def dropped(self, name, weight):
        return F.dropout(weight, self.recurrent[0].p, self.training)

    def forward(self, x, hx=None, *, key=None):
        named = {name: getattr(self, name) for name in self._flat_weights_names}
        with drawing_from(key):
            weights = [self.dropped(name, w) if "weight_hh" in name else w for name, w in named.items()]
        zero = x.new_zeros(self.num_layers * (1 + self.bidirectional), len(x), self.hidden_size)
        options = (True, self.num_layers, 0.0, self.training, self.bidirectional, self.batch_first)
        y, h, c = torch.lstm(x, (zero, zero), weights, *options)
        return y, (h, c)


# --- Which draws are shared


class MasksOfEachStep(Looped):
    """What should be one mask for a sequence is drawn again at every step."""

    def masks(self, kind, steps, n):
        each = [super(MasksOfEachStep, self).masks(kind, steps, n) for _ in range(steps)]
        return {
            name: torch.cat([m[name] for m in each]) if len(each[0][name]) == 1 else each[0][name] for name in each[0]
        }


class MasksOfTheBatch(Looped):
    """One mask for all sequences."""

    def masks(self, kind, steps, n):
        return {name: m[:, :1].expand(-1, n, *m.shape[2:]) for name, m in super().masks(kind, steps, n).items()}


class MasksOfTheSequence(Looped):
    """What should be drawn at every step is drawn once for a sequence."""

    def masks(self, kind, steps, n):
        return {name: m[:1] for name, m in super().masks(kind, steps, n).items()}


class GatesShareMasks(Looped):
    """Tied, whatever was asked for: it depends on some other option."""

    def masks(self, kind, steps, n):
        return {name: m[:, :, :1] for name, m in super().masks(kind, steps, n).items()}


class OneZoneForBothStates(Looped):
    def masks(self, kind, steps, n):
        found = super().masks(kind, steps, n)
        return found | {"hidden": found["cell"]}


class DropsRows(Dropped):
    """`variational=True` drops rows of the matrix: a gate's unit with all that it hears of the state."""

    def dropped(self, name, weight):
        return weight * F.dropout(weight.new_ones(len(weight), 1), self.recurrent[0].p, self.training)


class ForgetsTheReverse(Dropped):
    """The names of the matrices are listed by hand, and the other direction's are not there."""

    def dropped(self, name, weight):
        return weight if name.endswith("reverse") else super().dropped(name, weight)


# --- What is multiplied, and by what


class ScaledInTheRecurrence(Looped):
    """1/keep at every step: what stays grows with the length of the sequence."""

    def masks(self, kind, steps, n):
        return {name: m / (1 - kind.p) if self.training else m for name, m in super().masks(kind, steps, n).items()}


class DropsTheMemory(Looped):
    """The mask is on c instead of g."""

    def remembered(self, old, new, mask):
        return (old + new) * mask


class DropsWhatItReturns(Looped):
    """The state is masked where it is made, so the output is as well."""

    def step(self, x, h, c, *, inputs=1, states=1):
        h, c = super().step(x, h, c, inputs=inputs)
        return (h * states[:, 0], c) if self.training else (h, c)


class IgnoresRateOne(Looped):
    def inverted(self, p, *shape):
        return super().inverted(p, *shape) if p < 1 else torch.ones(shape, dtype=self.weight_hh_l0.dtype)


class Unscaled(Looped):
    def inverted(self, p, *shape):
        return self.kept(p, *shape)


class HidesTheNewCell(Looped):
    """The output is made of the cell state after zoneout, where the paper's is made of the one before."""

    def shown(self, new_c, c, zone):
        return self.zoned(new_c, c, zone)


class KeepsTheOtherShare(Looped):
    """A probability is taken for its opposite."""

    def zone(self, p, steps, n):
        return 1 - super().zone(p, steps, n)


class ZonesByDropout(Looped):
    """Dropout of the difference, whose 1/keep is not undone."""

    def zoned(self, new, old, zone):
        p = self.recurrent[0].hidden
        return old + (new - old) * (1 - zone) / (1 - p) if self.training else super().zoned(new, old, zone)


# --- At test time


class NoisyInEval(Looped):
    def masks(self, kind, steps, n):
        training, self.training = self.training, True
        found = super().masks(kind, steps, n)
        self.training = training
        return found


class NothingAtTest(Looped):
    """Eval is the plain layer, whatever the kind's rule is."""

    def masks(self, kind, steps, n):
        return super().masks(kind, steps, n) if self.training else {}


class ScalesTheMemoryAtTest(Looped):
    """keep multiplies the cell state at every step, and what is remembered decays as keep**t."""

    def masks(self, kind, steps, n):
        found = super().masks(kind, steps, n)
        return found if self.training else {"forget": found["leaving"]}


class DropsWeightsInEval(Dropped):
    """`F.dropout` with `training=True`."""

    def dropped(self, name, weight):
        return F.dropout(weight, self.recurrent[0].p, training=True)


# --- Which weights are dropped, and for how long


class WritesDroppedWeights(Dropped):
    """What is dropped stays dropped, and what is kept grows: after some passes nearly all weights are zero."""

    def dropped(self, name, weight):
        weight.data = super().dropped(name, weight.data)
        return weight


class DropsOnce(Dropped):
    """The second pass finds the weights that the first one flattened."""

    flattened = False

    def dropped(self, name, weight):
        found = weight if self.flattened else super().dropped(name, weight)
        self.flattened = name.endswith(f"l{self.num_layers - 1}")
        return found


class KeepsTheFirstMask(Dropped):
    first = None

    def dropped(self, name, weight):
        if not self.training:
            return weight
        self.first = {} if self.first is None else self.first
        mask = self.first.setdefault(name, F.dropout(torch.ones_like(weight), self.recurrent[0].p))
        return weight * mask


class ReadsTheOriginal(Dropped):
    """A closure over the module's weights, which a copy goes on to use."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        weights = dict(self.named_parameters())
        self.read = lambda name: weights[name]

    def dropped(self, name, weight):
        return super().dropped(name, self.read(name))


class CannotBeCopied(Dropped):
    """The dropped matrix, which has a history, is kept where the parameter was."""

    def dropped(self, name, weight):
        self.current = super().dropped(name, weight)
        return self.current


DEFECTS = [
    ("variational-rnn", MasksOfEachStep, "sharing"),
    ("variational-rnn", MasksOfTheBatch, "sharing"),
    ("variational-rnn", GatesShareMasks, "sharing"),
    ("variational-rnn", Unscaled, "statistics"),
    ("variational-rnn", DropsWhatItReturns, "moments"),
    ("variational-rnn", IgnoresRateOne, "moments"),
    ("variational-rnn", NoisyInEval, "eval"),
    ("rnn-drop", MasksOfEachStep, "sharing"),
    ("rnn-drop", MasksOfTheBatch, "sharing"),
    ("rnn-drop", ScaledInTheRecurrence, "statistics"),
    ("rnn-drop", ScaledInTheRecurrence, "moments"),
    ("rnn-drop", NothingAtTest, "test_rule"),
    ("rnn-drop", ScalesTheMemoryAtTest, "test_rule"),
    ("rnn-drop", NoisyInEval, "eval"),
    ("recurrent-dropout", MasksOfTheSequence, "sharing"),
    ("recurrent-dropout", MasksOfTheBatch, "sharing"),
    ("recurrent-dropout", DropsTheMemory, "moments"),
    ("recurrent-dropout", Unscaled, "statistics"),
    ("recurrent-dropout", IgnoresRateOne, "moments"),
    ("recurrent-dropout", NoisyInEval, "eval"),
    ("zoneout", MasksOfTheSequence, "sharing"),
    ("zoneout", MasksOfTheBatch, "sharing"),
    ("zoneout", OneZoneForBothStates, "sharing"),
    ("zoneout", HidesTheNewCell, "moments"),
    ("zoneout", KeepsTheOtherShare, "statistics"),
    ("zoneout", ZonesByDropout, "statistics"),
    ("zoneout", NothingAtTest, "test_rule"),
    ("zoneout", NoisyInEval, "eval"),
    ("weight-drop", DropsRows, "sharing"),
    ("weight-drop", ForgetsTheReverse, "moments"),
    ("weight-drop", DropsWeightsInEval, "eval"),
    ("weight-drop", WritesDroppedWeights, "input_unchanged"),
    ("weight-drop", DropsOnce, "reproducible"),
    ("weight-drop", KeepsTheFirstMask, "train_is_noisy"),
    ("weight-drop", ReadsTheOriginal, "copies"),
    ("weight-drop", CannotBeCopied, "copies"),
]


@pytest.mark.parametrize(("row", "layer", "check"), DEFECTS, ids=[f"{r}-{x.__name__}-{c}" for r, x, c in DEFECTS])
def test_the_declaration_of_a_kind_rejects_the_defect(monkeypatch, row, layer, check):
    monkeypatch.setattr(td, "LSTM", layer)
    status, detail = run_check(check, declared(row))
    print(detail)
    assert status == "fail"


def test_weights_that_are_drawn_at_each_step_are_rejected(monkeypatch):
    monkeypatch.setattr(td, "LSTM", MasksOfEachStep)
    status, detail = run_check("sharing", declared("weight-drop"))
    assert (status, detail) == ("fail", "the draws along axis 1 differ, where one draw is claimed.")


@pytest.mark.parametrize("row", ["variational-rnn", "rnn-drop", "recurrent-dropout", "zoneout", "weight-drop"])
def test_the_layers_that_the_wrong_ones_are_made_of_pass(monkeypatch, row):
    layer = Dropped if row == "weight-drop" else Looped
    monkeypatch.setattr(td, "LSTM", layer)
    checks = {check for name, _, check in DEFECTS if name == row} | {"statistics", "sharing", "moments", "test_rule"}
    for check in sorted(checks):
        status, detail = run_check(check, declared(row))
        assert status == "pass", f"{check}: {detail}"


def test_the_wrong_layers_are_all_used():
    own = {v for v in globals().values() if isinstance(v, type) and v.__module__ == __name__}
    assert {v for v in own if issubclass(v, nn.Module)} - {Looped, Dropped} == {layer for _, layer, _ in DEFECTS}
