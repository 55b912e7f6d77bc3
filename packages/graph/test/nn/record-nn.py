"""Records what PyTorch's layers and losses give, and their gradients, into nn.json: python record-nn.py > nn.json"""
import json
import torch
import torch.nn as nn
import torch.nn.functional as F

torch.manual_seed(5)


def plain(t):
    t = t.detach()
    digits = t.double().flatten().tolist()
    return {"shape": list(t.shape), "data": [round(v, 9) for v in digits] if t.is_floating_point() else t.flatten().tolist()}


def case(name, module, inputs, call=None, **options):
    """One use of a module: weights, inputs, output, dL/d(everything) for L = sum(output * dy)."""
    floats = [t for t in inputs.values() if t.is_floating_point()]
    for t in floats:
        t.requires_grad_(True)
    parameters = dict(module.named_parameters()) if module else {}
    buffers = {k: plain(v) for k, v in module.named_buffers() if v.is_floating_point()} if module else {}
    output = call(*inputs.values()) if call else module(*inputs.values())
    dy = torch.randn_like(output)
    (output * dy).sum().backward()
    gradients = {k: plain(v.grad) for k, v in {**parameters, **inputs}.items() if v.grad is not None}
    after = {k: plain(v) for k, v in module.named_buffers() if v.is_floating_point()} if module else {}
    return {
        "name": name,
        "options": options,
        "parameters": {k: plain(v) for k, v in parameters.items()},
        "buffers": buffers,
        "inputs": {k: plain(v) for k, v in inputs.items()},
        "output": plain(output),
        "dy": plain(dy),
        "gradients": gradients,
        "after": after,
    }


def jitter(module):
    with torch.no_grad():
        for p in module.parameters():
            p.add_(0.3 * torch.randn_like(p))
    return module


r = torch.randn
cases = [
    case("linear", nn.Linear(4, 3), {"x": r(2, 4)}),
    case("linear", nn.Linear(4, 3, bias=False), {"x": r(2, 3, 4)}),
    case("embedding", nn.Embedding(6, 3), {"ids": torch.tensor([[1, 0, 5], [1, 1, 2]])}),
    case("convolution", nn.Conv2d(2, 4, 3, stride=2, padding=1), {"x": r(2, 2, 6, 5)}, stride=2, padding=1),
    case("convolution", nn.Conv1d(4, 4, 3, dilation=2, groups=2), {"x": r(2, 4, 7)}, dilation=2, groups=2),
    case("layerNorm", jitter(nn.LayerNorm(5)), {"x": r(2, 3, 5)}),
    case("rmsNorm", jitter(nn.RMSNorm(5, eps=1e-6)), {"x": r(2, 3, 5)}),
    case("groupNorm", jitter(nn.GroupNorm(2, 4)), {"x": r(2, 4, 3, 2)}, groups=2),
]
bn = jitter(nn.BatchNorm2d(3))
cases.append(case("batchNorm", bn, {"x": r(4, 3, 2, 2) * 2 + 1}, training=True))
bn = jitter(nn.BatchNorm2d(3))
bn(r(4, 3, 2, 2) + 1)
bn.zero_grad()
cases.append(case("batchNorm", bn.eval(), {"x": r(4, 3, 2, 2)}, training=False))
mha = jitter(nn.MultiheadAttention(6, 2, batch_first=True))
cases.append(
    case("multiheadAttention", mha, {"x": r(2, 4, 6)}, lambda x: mha(x, x, x, need_weights=False)[0], heads=2)
)
mask = nn.Transformer.generate_square_subsequent_mask(4)
cases.append(
    case(
        "multiheadAttention",
        mha := jitter(nn.MultiheadAttention(6, 3, batch_first=True)),
        {"x": r(2, 4, 6)},
        lambda x: mha(x, x, x, attn_mask=mask, need_weights=False)[0],
        heads=3,
        causal=True,
    )
)
lstm = nn.LSTM(3, 4, num_layers=2, batch_first=True)
cases.append(case("lstm", lstm, {"x": r(2, 5, 3)}, lambda x: lstm(x)[0]))
gru = nn.GRU(3, 4, batch_first=True)
cases.append(case("gru", gru, {"x": r(2, 5, 3)}, lambda x: gru(x)[0]))


class Llama(nn.Module):
    """Llama's attention: rotary embedding in halves, two query heads for each head of keys and values, causal."""

    def __init__(self):
        super().__init__()
        self.q_proj = nn.Linear(8, 16, bias=False)
        self.k_proj = nn.Linear(8, 8, bias=False)
        self.v_proj = nn.Linear(8, 8, bias=False)
        self.o_proj = nn.Linear(16, 8, bias=False)

    def forward(self, x):
        b, t, _ = x.shape
        q = self.q_proj(x).view(b, t, 4, 4).transpose(1, 2)
        k = self.k_proj(x).view(b, t, 2, 4).transpose(1, 2)
        v = self.v_proj(x).view(b, t, 2, 4).transpose(1, 2)
        angles = torch.arange(t)[:, None] * 10000.0 ** (-torch.arange(0, 4, 2) / 4)
        angles = torch.cat([angles, angles], -1)

        def turn(h):
            a, c = h.chunk(2, -1)
            return h * angles.cos() + torch.cat([-c, a], -1) * angles.sin()

        y = F.scaled_dot_product_attention(turn(q), turn(k), v, is_causal=True, enable_gqa=True)
        return self.o_proj(y.transpose(1, 2).reshape(b, t, 16))


cases.append(case("attention", Llama(), {"x": r(2, 5, 8)}, heads=4, keyValueHeads=2, causal=True, rope={}))


class Mlp(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1 = nn.Linear(4, 6)
        self.fc2 = nn.Linear(6, 3)

    def forward(self, x):
        return self.fc2(F.gelu(self.fc1(x)))


class Gated(nn.Module):
    def __init__(self):
        super().__init__()
        self.gate_proj = nn.Linear(4, 6, bias=False)
        self.up_proj = nn.Linear(4, 6, bias=False)
        self.down_proj = nn.Linear(6, 4, bias=False)

    def forward(self, x):
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


cases.append(case("mlp", Mlp(), {"x": r(2, 3, 4)}))
cases.append(case("gatedMlp", Gated(), {"x": r(2, 3, 4)}))

targets = torch.tensor([[1, 0, -100], [2, 2, 1]])
for options in ({}, {"label_smoothing": 0.2}):
    cases.append(
        case(
            "crossEntropy",
            None,
            {"logits": r(2, 3, 4) * 3, "targets": targets},
            lambda a, t: F.cross_entropy(a.flatten(0, 1), t.flatten(), **options),
            **({"smoothing": 0.2} if options else {}),
        )
    )
cases.append(case("meanSquaredError", None, {"prediction": r(2, 3), "target": r(2, 3)}, F.mse_loss))
cases.append(case("meanAbsoluteError", None, {"prediction": r(2, 3), "target": r(2, 3)}, F.l1_loss))
cases.append(case("huber", None, {"prediction": r(4, 3) * 2, "target": r(4, 3)}, F.huber_loss))
cases.append(
    case("binaryCrossEntropy", None, {"logits": r(2, 3) * 4, "targets": torch.rand(2, 3)}, F.binary_cross_entropy_with_logits)
)
print(json.dumps({"torch": torch.__version__, "cases": cases}, separators=(",", ":")))
