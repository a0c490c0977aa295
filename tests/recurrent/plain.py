"""The recurrent methods for one sequence, one step and one gate at a time, from the papers' equations.

Masks come from `dropout_mask` and the documented order alone: a key for each layer and direction, one of it for each
kind of mask, `(N, G, F)` or `(T, N, F)`.
"""

import torch
from torch.nn.utils.rnn import PackedSequence, pack_sequence, pad_packed_sequence

import torchdropout as td

NUMBER = {"input": 0, "hidden": 1, "cell": 2, "update": 3, "zone_cell": 4, "zone_hidden": 5, "weight": 6, "output": 7}
GATES = {"LSTM": "ifgo", "GRU": "rzn", "RNN": "h"}


class Masks:
    """The masks of one layer and direction; `of(name, ...)` is what multiplies."""

    def __init__(self, key, kinds, training):
        self.key, self.kinds, self.training = key, {type(kind).__name__: kind for kind in kinds}, training

    def rate(self, kind, name):
        return getattr(self.kinds[kind], name) if kind in self.kinds else 0.0

    def kept(self, name, shape, p):
        return td.functional.dropout_mask(shape, p, key=td.fold_in(self.key, NUMBER[name])).double()

    def inverted(self, name, shape, p):
        if p == 0 or not self.training:
            return torch.ones(shape, dtype=torch.float64)
        return self.kept(name, shape, p) / (1 - p) if p < 1 else torch.zeros(shape, dtype=torch.float64)

    def zone(self, name, shape, p):
        if p == 0 or not self.training:
            return torch.full(shape, p, dtype=torch.float64)
        return 1 - self.kept(name, shape, p)


def plain(layer, sequences, key, state=None):
    """Each sequence's outputs and the last state of all layers and directions, in the layer's own layout of states."""
    name, n_all, t_all = type(layer).__name__, len(sequences), max(len(x) for x in sequences)
    directions, hidden = 2 if layer.bidirectional else 1, layer.hidden_size
    width = getattr(layer, "proj_size", 0) or hidden
    ends, xs = [], list(sequences)
    for number in range(layer.num_layers):
        outputs = [[] for _ in xs]
        for direction in range(directions):
            index = number * directions + direction
            masks = Masks(td.fold_in(key, index), layer.recurrent, layer.training)
            one = Direction(layer, name, number, direction, masks, n_all, t_all, xs[0].shape[1], hidden, width)
            last = []
            for n, x in enumerate(xs):
                first = [torch.zeros(width, dtype=x.dtype), torch.zeros(hidden, dtype=x.dtype)]
                if state is not None:
                    first = [s[index, n] for s in (state if isinstance(state, tuple) else (state,))]
                y, end = one.run(n, x, first)
                if number < layer.num_layers - 1 and layer.training and layer.dropout > 0:
                    shape = (1 if layer.locked else t_all, n_all, width)
                    y = y * masks.inverted("output", shape, layer.dropout)[: len(y), n]
                outputs[n].append(y)
                last.append(end)
            ends.append([torch.stack(parts) for parts in zip(*last, strict=True)])
        xs = [torch.cat(parts, -1) for parts in outputs]
    ends = [torch.stack(parts) for parts in zip(*ends, strict=True)]
    return xs, (tuple(ends) if name == "LSTM" else ends[0])


class Direction:
    """One layer and direction: its weights by gate, and its masks."""

    def __init__(self, layer, name, number, direction, masks, n_all, t_all, inputs, hidden, width):
        self.layer, self.name, self.reverse, self.gates = layer, name, direction == 1, GATES[name]
        count, tied = len(self.gates), masks.rate("Variational", "tied")
        groups = 1 if tied else count
        of = masks.inverted
        self.m_x = of("input", (n_all, groups, inputs), masks.rate("Variational", "input")).expand(-1, count, -1)
        self.m_h = of("hidden", (n_all, groups, width), masks.rate("Variational", "hidden")).expand(-1, count, -1)
        p = masks.rate("CellDropout", "p")
        self.keep = 1.0 if masks.training else 1 - p
        self.m_c = masks.kept("cell", (n_all, hidden), p) if masks.training else torch.ones(n_all, hidden)
        per_step = masks.rate("UpdateDropout", "per") != "sequence"
        shape = (t_all if per_step else 1, n_all, hidden)
        self.m_g = of("update", shape, masks.rate("UpdateDropout", "p")).expand(t_all, -1, -1)
        self.d_c = masks.zone("zone_cell", (t_all, n_all, hidden), masks.rate("Zoneout", "cell"))
        self.d_h = masks.zone("zone_hidden", (t_all, n_all, width), masks.rate("Zoneout", "hidden"))
        suffix = f"_l{number}" + "_reverse" * direction
        w, u = getattr(layer, "weight_ih" + suffix), getattr(layer, "weight_hh" + suffix)
        u = u * of("weight", u.shape, masks.rate("WeightDrop", "p"))
        zero = w.new_zeros(len(w))
        b, a = (getattr(layer, part + suffix, zero) for part in ("bias_ih", "bias_hh"))
        self.w, self.u, self.b, self.a = (
            dict(zip(self.gates, part.chunk(count), strict=True)) for part in (w, u, b, a)
        )
        self.hr = getattr(layer, "weight_hr" + suffix, None)

    def run(self, n, x, state):
        outputs = [None] * len(x)
        for t in reversed(range(len(x))) if self.reverse else range(len(x)):
            state = getattr(self, self.name.lower())(t, n, x[t], *state)
            outputs[t] = state[0]
        if self.name != "LSTM":
            state = state[:1]
        return (torch.stack(outputs) if outputs else x.new_zeros(0, len(state[0]))), state

    def parts(self, n, x, h):
        """By gate: the input's part and the state's."""
        ins = {q: self.w[q] @ (x * self.m_x[n, k]) + self.b[q] for k, q in enumerate(self.gates)}
        rec = {q: self.u[q] @ (h * self.m_h[n, k]) + self.a[q] for k, q in enumerate(self.gates)}
        return ins, rec

    def lstm(self, t, n, x, h, c):
        ins, rec = self.parts(n, x, h)
        i, f, o = (torch.sigmoid(ins[q] + rec[q]) for q in "ifo")
        g = torch.tanh(ins["g"] + rec["g"])
        new_c = self.m_c[n] * (f * c + i * (g * self.m_g[t, n]))
        new_h = self.keep * o * torch.tanh(new_c)
        new_h = new_h if self.hr is None else self.hr @ new_h
        d_h, d_c = self.d_h[t, n], self.d_c[t, n]
        return [d_h * h + (1 - d_h) * new_h, d_c * c + (1 - d_c) * new_c]

    def gru(self, t, n, x, h, *_):
        ins, rec = self.parts(n, x, h)
        r, z = (torch.sigmoid(ins[q] + rec[q]) for q in "rz")
        new = (1 - z) * (torch.tanh(ins["n"] + r * rec["n"]) * self.m_g[t, n]) + z * h
        return [self.d_h[t, n] * h + (1 - self.d_h[t, n]) * new]

    def rnn(self, t, n, x, h, *_):
        ins, rec = self.parts(n, x, h)
        a = ins["h"] + rec["h"]
        new = torch.tanh(a) if self.layer.nonlinearity == "tanh" else torch.relu(a)
        return [self.d_h[t, n] * h + (1 - self.d_h[t, n]) * new]


def run_packed(layer, sequences, key, state=None, **options):
    """The layer on sequences of different lengths: their outputs as a list, and the last state."""
    y, end = layer(pack_sequence(sequences, enforce_sorted=False), state, key=key, **options)
    assert isinstance(y, PackedSequence)
    padded, lengths = pad_packed_sequence(y)
    return [padded[:length, n] for n, length in enumerate(lengths)], end
