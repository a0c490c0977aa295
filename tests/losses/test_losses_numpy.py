"""Activation penalties and the loss of several samples, computed again in NumPy, in float64."""

import numpy as np
import pytest
import torch
from torch import nn

import torchdropout as td

D = torch.float64


def test_ar_and_tar_section4_6():
    torch.manual_seed(0)
    h = torch.randn(5, 3, 4, dtype=D)
    x = h.numpy()
    assert td.ar_loss(h, 2.0).item() == pytest.approx(2.0 * np.mean(x**2), rel=1e-12)
    assert td.tar_loss(h, 1.5).item() == pytest.approx(1.5 * np.mean((x[1:] - x[:-1]) ** 2), rel=1e-12)


def test_multi_sample_loss_section3():
    """The mean over samples of the mean cross-entropy, of masks that are read off the head itself."""
    torch.manual_seed(0)
    head = td.MultiSampleDropout(nn.Linear(6, 3).double(), num_samples=4, p=0.25)
    features, targets = torch.rand(7, 6, dtype=D) + 0.5, torch.randint(3, (7,))
    with td.keyed(5):
        loss = td.multi_sample_loss(head, features, targets).item()
    seeing = td.MultiSampleDropout(nn.Identity(), num_samples=4, p=0.25)
    with td.keyed(5):
        dropped = seeing(features).numpy()
    assert len({sample.tobytes() for sample in dropped}) == 4
    weight, bias = (p.detach().numpy() for p in head.head.parameters())
    logits = dropped @ weight.T + bias
    highest = logits.max(-1, keepdims=True)
    log_p = logits - highest - np.log(np.exp(logits - highest).sum(-1, keepdims=True))
    chosen = log_p[:, np.arange(7), targets.numpy()]
    assert loss == pytest.approx(-chosen.mean(1).mean(), rel=1e-12)
