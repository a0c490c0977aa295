"""Every source of noise is found, and nothing else, and looking changes nothing."""

import torch
from models import Transformer, mlp
from torch import nn
from torch.nn import functional as F

import torchdropout as td
from torchdropout import catalog
from torchdropout.testing.declared import declared


class DropPath(nn.Module):  # as other libraries write it
    def __init__(self, drop_prob):
        super().__init__()
        self.drop_prob = drop_prob

    def forward(self, x):
        return x * torch.bernoulli(torch.full((len(x), 1), 1 - self.drop_prob)) if self.training else x


class Everything(nn.Module):
    def __init__(self):
        super().__init__()
        self.ours, self.theirs, self.path = td.GaussianDropout(0.25), nn.Dropout1d(0.5), DropPath(0.1)
        self.lstm = td.LSTM(4, 4, 2, dropout=0.3, recurrent=[td.Zoneout(cell=0.5), td.WeightDrop(0.2)])
        self.gru, self.quiet = nn.GRU(4, 4, 2, dropout=0.4), nn.LSTM(4, 4, dropout=0.0)
        self.attention = nn.MultiheadAttention(4, 2, dropout=0.15)
        self.weights, self.leak, self.norm = td.DropConnectLinear(4, 4, p=0.5), nn.RReLU(), nn.BatchNorm1d(4)

    def forward(self, x):
        y = self.path(self.norm(self.leak(self.weights(self.theirs(self.ours(x))))))
        y = F.dropout(y, 0.35, self.training) + torch.randn_like(y)
        y = self.gru(self.lstm(y.unsqueeze(0))[0])[0]
        y = self.attention(y, y, y)[0]
        F.dropout(y, 0.9, False)
        F.dropout(y, 0.0, True)
        return F.scaled_dot_product_attention(y, y, y, dropout_p=0.05)


def told(sources):
    return [(s.name, s.kind, s.what, s.rate) for s in sources]


MODULES = [
    ("ours", "module", "GaussianDropout", 0.25),
    ("theirs", "module", "Dropout1d", 0.5),
    ("path", "module", "DropPath", 0.1),
    ("lstm", "recurrent", "Zoneout", None),
    ("lstm", "recurrent", "WeightDrop", 0.2),
    ("lstm", "recurrent", "dropout between layers", 0.3),
    ("gru", "recurrent", "dropout between layers", 0.4),
    ("attention", "attention", "MultiheadAttention", 0.15),
    ("weights", "module", "DropConnectLinear", 0.5),
    ("leak", "module", "RReLU", None),
]


def test_modules_and_functions():
    model, x = Everything(), torch.randn(6, 4)
    assert told(td.noise_sources(model)) == MODULES
    state, before = torch.random.get_rng_state(), {k: v.clone() for k, v in model.state_dict().items()}
    model.eval()
    assert told(td.noise_sources(model, x)) == [
        *MODULES,
        ("", "function", "dropout", 0.35),
        ("", "function", "randn_like", None),
        ("", "function", "scaled_dot_product_attention", 0.05),
    ]
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert not model.training


def test_functions_belong_to_the_module_that_calls_them():
    found = td.noise_sources(Transformer(), torch.zeros(1, 3, dtype=torch.int64))
    expected = [
        (f"layers.{n}", "function", what, rate)
        for n in range(2)
        for what, rate in (("scaled_dot_product_attention", 0.1), ("dropout", 0.2))
    ]
    assert told(found) == expected


def test_inserted_noise_is_found_and_a_model_without_noise_has_none():
    model = mlp()
    assert td.noise_sources(model, torch.randn(2, 6)) == []
    td.insert_after_(model, nn.ReLU, lambda module, name: td.Dropout(0.5))
    assert told(td.noise_sources(model, torch.randn(2, 6))) == [("1.noise_after.0", "module", "Dropout", 0.5)]


def test_every_row_of_the_catalogue_is_known():
    for row in catalog.METHODS:
        assert td.noise_sources(declared(row.name).factory()), row.name
