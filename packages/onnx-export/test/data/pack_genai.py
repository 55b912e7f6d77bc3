"""Packs exports of onnxruntime-genai's builder: pack_genai.py NAME OLD.onnx FRESH.onnx. OLD is of a model of the
fixtures, FRESH of the model that `otherModel` of reweighted.ts makes of it; of FRESH only a digest is kept."""

import gzip
import hashlib
import json
import sys

import onnx
from onnx import numpy_helper

name, old, fresh = sys.argv[1:4]
data = onnx.load(old).SerializeToString()
with open(f"genai-{name}.onnx.gz", "wb") as file:
    file.write(gzip.compress(data, 9, mtime=0))
digest = hashlib.sha256()
for each in sorted(onnx.load(fresh).graph.initializer, key=lambda one: one.name):
    digest.update(each.name.encode() + numpy_helper.to_array(each).tobytes())
with open(f"genai-{name}.json", "w") as file:
    json.dump({"fresh": digest.hexdigest()}, file, indent=2)
    file.write("\n")
