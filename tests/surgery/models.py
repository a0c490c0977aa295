"""Models as people write them: plain, residual, and with attention."""

import torch
from torch import nn
from torch.nn import functional as F


def mlp():
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Sequential(nn.Linear(8, 8), nn.Tanh()), nn.Linear(8, 3))


class Block(nn.Module):
    def __init__(self, channels, stride=1):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, stride, 1, bias=False, padding_mode="circular")
        self.bn1, self.relu1 = nn.BatchNorm2d(channels), nn.ReLU()
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, groups=2, bias=False)
        self.bn2, self.relu2 = nn.BatchNorm2d(channels), nn.ReLU()
        self.short = nn.Conv2d(channels, channels, 1, stride) if stride > 1 else nn.Identity()

    def forward(self, x):
        return self.relu2(self.bn2(self.conv2(self.relu1(self.bn1(self.conv1(x))))) + self.short(x))


class ResNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, padding=1)
        self.blocks = nn.Sequential(Block(4), Block(4, 2))
        self.head = nn.Linear(4, 3)

    def forward(self, x):
        return self.head(self.blocks(F.relu(self.stem(x))).mean((2, 3)))


class Layer(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.q, self.k, self.v, self.out = (nn.Linear(width, width) for _ in range(4))
        self.up, self.act, self.down = nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)

    def forward(self, x):
        y = self.norm1(x)
        attended = F.scaled_dot_product_attention(self.q(y), self.k(y), self.v(y), dropout_p=0.1 * self.training)
        x = x + F.dropout(self.out(attended), 0.2, self.training)
        return x + self.down(self.act(self.up(self.norm2(x))))


class Transformer(nn.Module):
    """Its output is tied to its embedding."""

    def __init__(self, words=11, width=8):
        super().__init__()
        self.embed = nn.Embedding(words, width)
        self.layers = nn.ModuleList([Layer(width), Layer(width)])
        self.head = nn.Linear(width, words, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, words):
        x = self.embed(words)
        for layer in self.layers:
            x = layer(x)
        return self.head(x)


class Reused(nn.Module):
    """One ReLU at two places, and one layer under two names."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.relu = nn.Linear(4, 4), nn.Linear(4, 4), nn.ReLU()
        self.again = self.a

    def forward(self, x):
        return self.b(self.relu(self.again(self.relu(self.a(x)))))


def cases():
    """Name, factory and inputs."""
    return {
        "mlp": (mlp, lambda: torch.randn(5, 6)),
        "resnet": (ResNet, lambda: torch.randn(2, 3, 8, 8)),
        "transformer": (Transformer, lambda: torch.randint(0, 11, (2, 5))),
        "encoder": (
            lambda: nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), 2),
            lambda: torch.randn(2, 5, 8),
        ),
    }
