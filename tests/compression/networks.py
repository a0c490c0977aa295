"""Networks drawn from a plan, with dead channels: all that makes them is zero."""

import torch
from torch import nn
from torch.nn import functional as F

PIECES = ("conv", "norm", "relu", "residual", "shortcut", "concat", "grouped", "depthwise", "pool", "dropout")


class Residual(nn.Module):
    def __init__(self, channels, out=None):
        super().__init__()
        out = out or channels
        self.conv1, self.bn1 = nn.Conv2d(channels, out, 3, padding=1, bias=False), nn.BatchNorm2d(out)
        self.conv2, self.bn2 = nn.Conv2d(out, out, 3, padding=1, bias=False), nn.BatchNorm2d(out)
        self.short = nn.Identity() if out == channels else nn.Conv2d(channels, out, 1)

    def forward(self, x):
        return F.relu(self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x))))) + self.short(x))


class Concat(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.a, self.b = nn.Conv2d(channels, 4, 1), nn.Conv2d(channels, 4, 3, padding=1)

    def forward(self, x):
        return torch.cat([self.a(x), F.relu(self.b(x)), x], 1)


class ConvNet(nn.Module):
    """Pieces in the order of a plan, pooled or flattened, then two linear layers."""

    def __init__(self, plan, flatten):
        super().__init__()
        pieces, channels, size = [nn.Conv2d(3, 8, 3, padding=1)], 8, 8
        for piece in plan:
            if piece == "concat":
                pieces.append(Concat(channels))
                channels += 8
            elif piece == "pool":
                pieces.append(nn.MaxPool2d(2) if size > 2 else nn.Identity())
                size = size // 2 if size > 2 else size
            elif piece == "shortcut":
                pieces.append(Residual(channels, 12))
                channels = 12
            else:
                pieces.append(self._piece(piece, channels))
        self.body, self.flatten = nn.Sequential(*pieces), flatten
        self.hidden = nn.Linear(channels * (size * size if flatten else 1), 10)
        self.out = nn.Linear(10, 3)

    @staticmethod
    def _piece(piece, channels):
        return {
            "conv": lambda: nn.Conv2d(channels, channels, 3, padding=1),
            "norm": lambda: nn.BatchNorm2d(channels),
            "relu": nn.ReLU,
            "dropout": lambda: nn.Dropout2d(0.5),
            "residual": lambda: Residual(channels),
            "grouped": lambda: nn.Conv2d(channels, channels, 3, padding=1, groups=2),
            "depthwise": lambda: nn.Conv2d(channels, channels, 3, padding=1, groups=channels),
        }[piece]()

    def forward(self, x):
        x = self.body(x)
        x = x.flatten(1) if self.flatten else x.mean((2, 3))
        return self.out(F.relu(self.hidden(x)))


class Block(nn.Module):
    """Attention as people write it, and a feed-forward part."""

    def __init__(self, width=16, heads=4):
        super().__init__()
        self.num_heads, self.norm1, self.norm2 = heads, nn.LayerNorm(width), nn.LayerNorm(width)
        self.q, self.k, self.v, self.proj = (nn.Linear(width, width) for _ in range(4))
        self.up, self.down = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)

    def forward(self, x):
        batch, length, width = x.shape
        y = self.norm1(x)
        q, k, v = (
            part(y).view(batch, length, self.num_heads, width // self.num_heads).transpose(1, 2)
            for part in (self.q, self.k, self.v)
        )
        y = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(batch, length, width)
        x = x + self.proj(y)
        return x + self.down(F.gelu(self.up(self.norm2(x))))


class Standard(nn.Module):
    """The same with PyTorch's attention."""

    def __init__(self, width=16, heads=4):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)
        self.up, self.down = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)

    def forward(self, x):
        y = self.norm1(x)
        x = x + self.attention(y, y, y, need_weights=False)[0]
        return x + self.down(F.relu(self.up(self.norm2(x))))


class Tokens(nn.Module):
    def __init__(self, blocks):
        super().__init__()
        self.embed, self.blocks, self.out = nn.Linear(5, 16), nn.ModuleList(blocks), nn.Linear(16, 3)

    def forward(self, x):
        x = self.embed(x)
        for block in self.blocks:
            x = block(x)
        return self.out(x.mean(1))


@torch.no_grad()
def lively(model, seed):
    """Nothing is zero or one by its initial value."""
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in model.state_dict().items():
        if tensor.is_floating_point() and tensor.dim() == 1:
            tensor.uniform_(0.5, 1.5, generator=generator) if "bias" not in name else tensor.normal_(
                generator=generator
            )
    return model.eval()


@torch.no_grad()
def kill(model, part, seed, names=None):
    """Rows of convolutions and linear layers, the last one's not, and of the norms behind them, become zero."""
    generator = torch.Generator().manual_seed(seed)
    layers = [(n, m) for n, m in model.named_modules() if isinstance(m, (nn.Linear, nn.Conv2d, nn.BatchNorm2d))]
    dead, last = {}, None
    for name, module in layers[:-1]:
        if names is not None and name not in names:
            continue
        norm = isinstance(module, nn.BatchNorm2d)
        gone = torch.rand(len(module.weight), generator=generator) < part
        if norm and last is not None and len(last) == len(gone):
            gone = last
        module.weight[gone] = 0.0
        if module.bias is not None:
            module.bias[gone] = 0.0
        if norm:
            module.running_mean[gone] = 0.0
        dead[name] = last = gone
    return dead


def parameters(model):
    return sum(p.numel() for p in model.parameters())
