"""Exports a decoder with its cache as optimum does: torch_export.py MODEL OUT.onnx legacy|dynamo"""

import os
import sys
import time

import torch
from transformers import AutoModelForCausalLM
from transformers.cache_utils import DynamicCache


class WithCache(torch.nn.Module):
    """input_ids, attention_mask, position_ids, key and value of each layer → logits, the same with the new tokens."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, input_ids, attention_mask, position_ids, *past):
        pairs = [(past[i], past[i + 1]) for i in range(0, len(past), 2)]
        cache = DynamicCache(pairs)
        out = self.model(
            input_ids=input_ids,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=cache,
            use_cache=True,
        )
        return out.logits, *[part for layer in out.past_key_values.layers for part in (layer.keys, layer.values)]


folder, path, exporter = sys.argv[1:4]
began = time.perf_counter()
model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
config = model.config
head_size = config.hidden_size // config.num_attention_heads
caches = [f"{layer}.{part}" for layer in range(config.num_hidden_layers) for part in ("key", "value")]
past = [torch.randn(2, config.num_key_value_heads, 6, head_size) for _ in caches]
inputs = (
    torch.arange(4, 10).reshape(2, 3),
    torch.ones(2, 9, dtype=torch.long),
    torch.arange(6, 9).repeat(2, 1),
    *past,
)
input_names = ["input_ids", "attention_mask", "position_ids", *[f"past_key_values.{each}" for each in caches]]
output_names = ["logits", *[f"present.{each}" for each in caches]]
os.makedirs(os.path.dirname(path), exist_ok=True)
with torch.no_grad():
    if exporter == "legacy":
        axes = {"input_ids": {0: "batch", 1: "sequence"}, "attention_mask": {0: "batch", 1: "total"}}
        axes["position_ids"] = axes["input_ids"]
        axes |= {f"past_key_values.{each}": {0: "batch", 2: "past"} for each in caches}
        axes |= {"logits": {0: "batch", 1: "sequence"}}
        axes |= {f"present.{each}": {0: "batch", 2: "total"} for each in caches}
        options = {"dynamo": False, "opset_version": 18, "dynamic_axes": axes}
    else:
        batch, sequence, before = (torch.export.Dim(name, min=1, max=4096) for name in ("batch", "sequence", "past"))
        auto = torch.export.Dim.AUTO
        shapes = (
            {0: batch, 1: sequence},
            {0: batch, 1: auto},
            {0: batch, 1: sequence},
            tuple({0: batch, 2: before} for _ in caches),
        )
        options = {"dynamo": True, "external_data": True, "dynamic_shapes": shapes, "optimize": True}
    torch.onnx.export(
        WithCache(model), inputs, path, input_names=input_names, output_names=output_names, **options
    )
print(f"{time.perf_counter() - began:.1f} s")
