"""Writes torch-<model>-{legacy,dynamo}.onnx.gz for models of a folder of architectures: make.py FOLDER MODEL..."""

import gzip
import json
import sys

import torch
import transformers


class FirstOutput(torch.nn.Module):
    """The model as a function of tensors: ids and mask, or pixels, to logits."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, *inputs):
        if len(inputs) == 1:
            return self.model(inputs[0])[0]
        return self.model(input_ids=inputs[0], attention_mask=inputs[1])[0]


def export(folder, dynamo):
    config = json.load(open(f"{folder}/config.json"))
    kind = getattr(transformers, config["architectures"][0])
    options = {} if "image_size" in config or "num_channels" in config else {"attn_implementation": "eager"}
    model = kind.from_pretrained(folder, dtype=torch.float32, **options).eval()
    model.config.use_cache = False
    if options:
        inputs = (torch.arange(4, 12).reshape(1, 8), torch.ones(1, 8, dtype=torch.long))
        names = ["input_ids", "attention_mask"]
        axes = {name: {0: "batch", 1: "sequence"} for name in names}
    else:
        size = config.get("image_size", 16)
        inputs, names, axes = (torch.randn(1, 3, size, size),), ["pixel_values"], {"pixel_values": {0: "batch"}}
    form = {"dynamo": True, "external_data": False}
    if not dynamo:
        form = {"dynamo": False, "opset_version": 17, "dynamic_axes": axes}
    path = "/tmp/export.onnx"
    torch.onnx.export(FirstOutput(model), inputs, path, input_names=names, output_names=["logits"], **form)
    return open(path, "rb").read()


if __name__ == "__main__":
    for name in sys.argv[2:]:
        for exporter in ("legacy", "dynamo"):
            data = export(f"{sys.argv[1]}/{name}", exporter == "dynamo")
            with open(f"torch-{name}-{exporter}.onnx.gz", "wb") as file:
                file.write(gzip.compress(data, 9, mtime=0))
