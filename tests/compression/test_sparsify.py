import pytest
import torch
from torch import nn

import torchdropout as td


def net():
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 8), nn.ReLU(), nn.Linear(8, 3)
    )


X = torch.randn(5, 1, 8, 8, generator=torch.Generator().manual_seed(0))


def test_sparse_weights_are_those_that_were_there():
    model = net().eval()
    expected = model(X)
    state = {name: value.clone() for name, value in model.state_dict().items()}
    assert td.sparsify_(model, threshold=2.0, train_clip=True, log_sigma2=-8.0) == ["0", "4", "6"]
    assert [type(model[n]).__name__ for n in (0, 4, 6)] == ["SparseVariationalConv2d", *["SparseVariationalLinear"] * 2]
    assert {(model[n].threshold, model[n].train_clip) for n in (0, 4, 6)} == {(2.0, True)}
    assert all(torch.equal(model.state_dict()[name], value) for name, value in state.items())
    for n in (0, 4, 6):
        model[n].log_sigma2.data.fill_(-30.0)  # no weight is removed
    torch.testing.assert_close(model.eval()(X), expected)
    assert not torch.equal(model.train()(X), model(X))


def test_reverting_gives_the_plain_model_with_what_was_learnt():
    model = net()
    td.sparsify_(model)
    with torch.no_grad():
        model[6].weight.add_(1.0)
        learnt = model[6].weight.clone()
    td.revert_(model)
    assert [type(module) for module in model] == [type(module) for module in net()]
    assert torch.equal(model[6].weight, learnt)


def test_gates_follow_all_but_the_last_layer_before_batch_norm_and_activation():
    model = net()
    assert td.sparsify_(model, "log-normal", per="example", snr_threshold=0.5) == ["0", "4"]
    gates = [m for m in model.modules() if isinstance(m, td.LogNormalDropout)]
    assert [(g.num_features, g.dim, g.per, g.snr_threshold) for g in gates] == [
        (4, 1, "example", 0.5),
        (8, -1, "example", 0.5),
    ]
    assert list(model[0].noise_after) == gates[:1]
    assert list(model[4].noise_after) == gates[1:]
    td.revert_(model)
    assert not any(isinstance(m, td.LogNormalDropout) for m in model.modules())


def test_a_gate_on_the_inputs():
    model = nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 2))
    td.sparsify_(model, "log-normal", gate_inputs=True)
    assert [gate.num_features for slot in ("noise_before", "noise_after") for gate in getattr(model[0], slot)] == [6, 4]


class Branching(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc, self.out = nn.Linear(6, 4), nn.Linear(4, 2)

    def forward(self, x):
        return self.out(self.fc(x) if x.shape[0] > 1 or x.sum() > 0 else self.fc(-x))


def test_a_model_that_cannot_be_traced_is_run():
    x = torch.randn(3, 6)
    assert td.sparsify_(Branching(), "log-normal", example_inputs=x) == ["fc"]
    with pytest.raises(ValueError, match="give `example_inputs` to run it on"):
        td.sparsify_(Branching(), "log-normal")


def test_a_filter_chooses():
    model = net()
    assert td.sparsify_(model, filter_fn=lambda module, name: isinstance(module, nn.Linear)) == ["4", "6"]
    assert type(model[0]) is nn.Conv2d
    other = net()
    assert td.sparsify_(other, "log-normal", filter_fn=lambda module, name: name == "6") == ["6"]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: td.sparsify_(net(), "magnitude"), "sparsify_: `method` must be"),
        (lambda: td.sparsify_(nn.ReLU()), "must have linear layers or convolutions to change, found none"),
        (lambda: td.sparsify_(nn.Sequential(nn.Linear(2, 2)), "log-normal"), "to change, found none"),
        (
            lambda: td.sparsify_(m := net(), "log-normal", optimizer=torch.optim.SGD(m.parameters(), 0.1)),
            "`optimizer` must be made after this",
        ),
        (lambda: td.sparsify_(m := net(), optimizer=torch.optim.SGD(m.parameters(), 0.1)), "optimizer"),
        (lambda: td.kl_warmup(3, start=5, end=4), "kl_warmup: `end` must be at least `start` = 5, got 4"),
        (lambda: td.noise_param_groups(net(), 0.1, 0.1), "the model must have learned noise, found none"),
        (lambda: td.noise_param_groups(net(), 0.0, 0.1), "noise_param_groups: `lr` must be positive, got 0.0"),
    ],
)
def test_what_is_refused(call, message):
    with pytest.raises(ValueError, match="(?s)" + message.replace("(", r"\(")):
        call()


def test_the_schedule_is_the_authors():
    # optpolicy.py of the authors: 0 for epochs 0-4, (epoch - 5) / 15 for 5-19, then 1
    authors = [0.0] * 5 + [(epoch - 5) / 15 for epoch in range(5, 20)] + [1.0] * 10
    assert [td.kl_warmup(epoch) for epoch in range(30)] == pytest.approx(authors)
    assert td.kl_warmup(7.25, 0.5, 14.0) == pytest.approx(0.5)
    assert [td.kl_warmup(epoch, 2, 2) for epoch in (1, 2, 3)] == [0.0, 1.0, 1.0]


@pytest.mark.parametrize("method", ["sparse-variational", "log-normal"])
def test_the_groups_hold_every_parameter_once(method):
    model = net()
    td.sparsify_(model, method)
    weights, noise = td.noise_param_groups(model, 1e-4, 1e-3)
    named = {id(p): name for name, p in model.named_parameters()}
    names = [{named[id(p)] for p in group["params"]} for group in (weights, noise)]
    assert not names[0] & names[1]
    assert names[0] | names[1] == set(named.values())
    assert {name.rpartition(".")[2] for name in names[1]} <= {"log_sigma2", "mu", "log_sigma"}
    assert {name.rpartition(".")[2] for name in names[0]} == {"weight", "bias"}
    assert [(g["lr"], g["weight_decay"]) for g in (weights, noise)] == [(1e-4, 0.0), (1e-3, 0.0)]


def test_training_by_the_pieces_removes_weights_that_say_nothing():
    """Of ten inputs two decide: most weights of the others go, and none of these."""
    x = torch.randn(400, 10)
    y = (x[:, 0] + x[:, 1] + 0.5 * torch.randn(400) > 0).long()
    model = nn.Sequential(nn.Linear(10, 2))
    td.sparsify_(model, log_sigma2=-6.0)
    optimizer = torch.optim.Adam(td.noise_param_groups(model, 0.02, 0.05))
    for epoch in range(800):
        loss = nn.functional.cross_entropy(model(x), y) + td.kl_loss(model, 400, warmup=td.kl_warmup(epoch, 20, 80))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    kept = model[0].mask
    assert kept[:, :2].any(0).all()
    assert kept[:, 2:].sum() <= 3
    assert float((model.eval()(x).argmax(1) == (x[:, 0] + x[:, 1] > 0)).double().mean()) > 0.95
