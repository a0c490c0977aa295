import pytest
import torch
from torch import nn

import torchdropout as td


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_noise_follows_the_dtype_of_its_input(dtype):
    model = nn.Sequential(nn.Linear(8, 64), td.Dropout(0.5), td.GaussianDropout(0.2), nn.Linear(64, 1))
    seen = []
    model[1].register_forward_hook(lambda module, args, output: seen.append((args[0].dtype, output.dtype)))
    x = torch.randn(4, 8)
    with torch.autocast("cpu", dtype=dtype):
        y = model(x)
    assert seen == [(dtype, dtype)]
    y.float().sum().backward()
    assert all(parameter.grad.dtype == torch.float32 for parameter in model.parameters())
    assert torch.isfinite(model[0].weight.grad).all()


def test_masks_do_not_depend_on_autocast():
    x = torch.randn(4, 300)
    plain = td.functional.dropout(x, 0.3, key=td.key(1))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(td.functional.dropout(x, 0.3, key=td.key(1)), plain)
        low = td.functional.dropout(x.bfloat16(), 0.3, key=td.key(1))
    assert torch.equal(low == 0, plain == 0)
