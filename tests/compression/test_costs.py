import time

import pytest
import torch
from torch import nn

import torchdropout as td
from torchdropout.compression.measure import CompressionReport, Cost

FAST = {"seconds": 0.01}


def test_operations_and_sizes_are_those_counted_by_hand():
    conv = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 25, 4)
    )
    small = nn.Sequential(nn.Conv2d(3, 2, 3, padding=1), nn.BatchNorm2d(2), nn.ReLU(), nn.Flatten(), nn.Linear(50, 4))
    with torch.no_grad():
        conv[4].weight[:, 10:] = 0.0
    found = td.compression_report(conv, small, torch.randn(2, 3, 5, 5), **FAST)
    assert found.before.flops == 2 * (25 * 8 * 3 * 9 + 200 * 4)
    assert found.after.flops == 2 * (25 * 2 * 3 * 9 + 50 * 4)
    parameters = 8 * 27 + 8 + 16 + 200 * 4 + 4
    assert found.before.parameters == parameters
    assert found.before.nonzero == parameters - 190 * 4 - 8  # and the batch norm's biases
    assert found.before.bytes == 4 * (parameters + 16) + 8  # running moments and a counter


def test_attention_is_counted_whatever_kernel_would_compute_it():
    layer = nn.TransformerEncoderLayer(16, 4, 32, batch_first=True)
    found = td.compression_report(nn.TransformerEncoder(layer, 2), layer, torch.randn(2, 5, 16), **FAST)
    one = 2 * 5 * (4 * 16 * 16 + 2 * 16 * 32) + 2 * 2 * 5 * 5 * 16
    assert (found.before.flops, found.after.flops) == (2 * one, one)
    assert torch.backends.mha.get_fastpath_enabled()


@pytest.mark.parametrize(("kind", "gates"), [(nn.LSTM, 4), (nn.GRU, 3), (nn.RNN, 1)])
def test_recurrent_layers_are_counted(kind, gates):
    layer = kind(8, 16, batch_first=True)
    found = td.compression_report(layer, layer, torch.randn(2, 5, 8), **FAST)
    assert found.before.flops == 5 * 2 * gates * 16 * (8 + 16)


def test_grouped_convolutions_are_counted():
    grouped = nn.Conv2d(8, 16, 3, groups=4, bias=False)
    found = td.compression_report(grouped, nn.Conv2d(8, 16, 3, bias=False), torch.randn(2, 8, 6, 6), **FAST)
    assert (found.before.flops, found.after.flops) == (2 * 16 * 16 * 2 * 9, 2 * 16 * 16 * 8 * 9)


def test_accuracy_is_over_all_examples_and_modes_stay():
    model = nn.Sequential(nn.Linear(2, 2, bias=False), nn.Dropout(0.9)).train()
    model[1].eval()
    with torch.no_grad():
        model[0].weight.copy_(torch.eye(2))
    x = torch.randn(3000, 2)
    labels = x.argmax(1)
    labels[:300] = 1 - labels[:300]
    found = td.compression_report(model, nn.Linear(2, 2), x[:2], (x, labels), **FAST)
    assert found.before.accuracy == pytest.approx(0.9)
    assert [module.training for module in model.modules()] == [True, True, False]


def test_latency_is_in_milliseconds():
    class Slow(nn.Module):
        def forward(self, x):
            time.sleep(0.004 if len(x) == 1 else 0.02)
            return x

    found = td.compression_report(Slow(), nn.Identity(), torch.randn(5, 2), **FAST)
    assert 4 <= found.before.latency_1 < 15
    assert 20 <= found.before.latency_64 < 60
    assert found.after.latency_64 < 2


def test_several_inputs_by_name():
    class Two(nn.Module):
        def forward(self, a, b):
            assert len(a) == len(b)
            return a @ b.transpose(1, 2)

    found = td.compression_report(Two(), Two(), {"a": torch.randn(2, 3, 4), "b": torch.randn(2, 5, 4)}, **FAST)
    assert found.before.flops == 2 * 3 * 4 * 5


def test_it_prints_as_a_table():
    before, after = Cost(1000, 900, 4000, 2000, 1.0, 8.0, 0.95), Cost(100, 100, 400, 200, 0.5, 2.0, 0.9)
    lines = str(CompressionReport(before, after)).splitlines()
    assert [line.split() for line in lines] == [
        ["before", "after", "times", "less"],
        ["parameters", "1,000", "100", "10.00"],
        ["nonzero", "900", "100", "9.00"],
        ["bytes", "4,000", "400", "10.00"],
        ["flops", "2,000", "200", "10.00"],
        ["latency_1", "1", "0.5", "2.00"],
        ["latency_64", "8", "2", "4.00"],
        ["accuracy", "0.95", "0.9"],
    ]


def test_no_time_is_refused():
    with pytest.raises(ValueError, match="compression_report: `seconds` must be positive, got 0"):
        td.compression_report(nn.Identity(), nn.Identity(), torch.randn(2, 2), seconds=0)
