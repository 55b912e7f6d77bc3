"""The Shakespeare example in PyTorch, from the same first weights and batches: shakespeare_torch.py FOLDER OUT.json"""
import json
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch.nn import functional as F

folder, out = Path(sys.argv[1]), Path(sys.argv[2])
weights = {name: torch.nn.Parameter(tensor) for name, tensor in load_file(folder / "weights.safetensors").items()}
batches = load_file(folder / "batches.safetensors")
layers, heads = 2, 4


def linear(name, x):
    return F.linear(x, weights[f"{name}.weight"], weights[f"{name}.bias"])


def norm(name, x):
    return F.layer_norm(x, x.shape[-1:], weights[f"{name}.weight"], weights[f"{name}.bias"])


def predict(tokens):
    batch, length = tokens.shape
    x = weights["wte.weight"][tokens] + weights["wpe.weight"][:length]
    for layer in range(layers):
        inner = norm(f"h.{layer}.ln1", x)
        q, k, v = (
            linear(f"h.{layer}.attn.{name}_proj", inner).view(batch, length, heads, -1).transpose(1, 2) for name in "qkv"
        )
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + linear(f"h.{layer}.attn.o_proj", y.transpose(1, 2).reshape(batch, length, -1))
        inner = F.gelu(linear(f"h.{layer}.mlp.fc1", norm(f"h.{layer}.ln2", x)))
        x = x + linear(f"h.{layer}.mlp.fc2", inner)
    return norm("ln", x) @ weights["wte.weight"].T


optimizer = torch.optim.AdamW(weights.values(), lr=1e-3, weight_decay=0.1)
losses = []
for step in range(len(batches) // 2):
    tokens, targets = (batches[f"{step}/{name}"].long() for name in ("tokens", "targets"))
    loss = F.cross_entropy(predict(tokens).flatten(0, 1), targets.flatten())
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    losses.append(round(loss.item(), 6))
out.write_text(json.dumps({"torch": torch.__version__, "losses": losses}) + "\n")
