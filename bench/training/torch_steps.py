"""Step times of three small models in PyTorch on the CPU: python torch_steps.py MODEL THREADS STEPS, one JSON line.

The peer of run.ts: same shapes, same optimizers, random batches; eager mode, as users train.
"""
import json
import resource
import sys
import time

import torch
from torch import nn
from torch.nn import functional as F


class Gpt(nn.Module):
    """gpt-nano: 3 layers of width 48, 3 heads, context 128, tied head."""

    def __init__(self, vocabulary=50257, width=48, layers=3, heads=3, context=128):
        super().__init__()
        self.heads = heads
        self.wte = nn.Embedding(vocabulary, width)
        self.wpe = nn.Embedding(context, width)
        self.blocks = nn.ModuleList(
            nn.ModuleDict(
                {
                    "ln1": nn.LayerNorm(width),
                    "qkv": nn.Linear(width, 3 * width),
                    "proj": nn.Linear(width, width),
                    "ln2": nn.LayerNorm(width),
                    "fc1": nn.Linear(width, 4 * width),
                    "fc2": nn.Linear(4 * width, width),
                }
            )
            for _ in range(layers)
        )
        self.ln = nn.LayerNorm(width)

    def forward(self, tokens):
        batch, length = tokens.shape
        x = self.wte(tokens) + self.wpe.weight[:length]
        for block in self.blocks:
            q, k, v = block["qkv"](block["ln1"](x)).chunk(3, -1)
            q, k, v = (t.view(batch, length, self.heads, -1).transpose(1, 2) for t in (q, k, v))
            y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
            x = x + block["proj"](y.transpose(1, 2).reshape(batch, length, -1))
            x = x + block["fc2"](F.gelu(block["fc1"](block["ln2"](x))))
        return self.ln(x) @ self.wte.weight.T


def make(name):
    if name == "mlp":
        model = nn.Sequential(nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 10))
        batch = lambda: (torch.randn(64, 784), torch.randint(0, 10, (64,)))
        return model, torch.optim.Adam(model.parameters(), 1e-3), batch
    if name == "cnn":
        model = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(16, 32, 3, padding=1, bias=False), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2),
            nn.Flatten(), nn.Linear(32 * 7 * 7, 10),
        )
        batch = lambda: (torch.randn(64, 1, 28, 28), torch.randint(0, 10, (64,)))
        return model, torch.optim.Adam(model.parameters(), 1e-3), batch
    if name == "gpt-nano":
        model = Gpt()
        batch = lambda: (torch.randint(0, 50257, (8, 128)), torch.randint(0, 50257, (8 * 128,)))
        return model, torch.optim.AdamW(model.parameters(), 3e-4, weight_decay=0.1), batch
    raise SystemExit(f"unknown model {name}")


def main():
    name, threads, steps = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    model, optimizer, batch = make(name)
    x, y = batch()
    times = []
    for _ in range(steps + 3):
        began = time.perf_counter()
        logits = model(x)
        loss = F.cross_entropy(logits.reshape(-1, logits.shape[-1]), y)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        loss.item()
        times.append(1000 * (time.perf_counter() - began))
    times = sorted(times[3:])
    print(
        json.dumps(
            {
                "milliseconds": times[len(times) // 2],
                "least": times[0],
                "peakMegabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
                "parameters": sum(p.numel() for p in model.parameters()),
            }
        )
    )


main()
