"""Records the standard node test cases of the onnx package, without their tensors.

Usage: python record.py OUTPUT [--data FOLDER], then node pack.mjs OUTPUT ../../packages/graph/test/data/node-cases.br

OUTPUT begins with the length of a JSON text (four bytes, little-endian) and the text; the models it lists follow one
after the other. An entry says what a case gives for its data: dtype (ONNX's number) and shape of each output. Models
are without the types of their outputs, which are to be inferred. Integer and bool inputs of at most 64 elements, and
floats of at most 8, carry their values: sizes may follow from them.

With --data, each case is also written out whole as FOLDER/<case>/{model.onnx, input_N.pb, output_N.pb}, for round trips
through a runtime.
"""

import argparse
import json
import pathlib
import warnings

import numpy as np
import onnx
from onnx import numpy_helper
from onnx.backend.test.case.node import collect_testcases


def array_of(value):
    if isinstance(value, onnx.TensorProto):
        return None, list(value.dims)
    array = np.asarray(value)
    return array, list(array.shape)


def is_tensor(info):
    return info.type.HasField("tensor_type")


def described(info, value):
    """What a value is: a tensor's dtype (ONNX number) and shape, or that it is none."""
    if not is_tensor(info):
        return {"name": info.name, "kind": info.type.WhichOneof("value")}
    array, shape = array_of(value)
    # The file's own number: numpy has no bfloat16, float8 or 4-bit dtypes.
    entry = {"name": info.name, "type": info.type.tensor_type.elem_type, "shape": shape}
    integers = array is not None and array.dtype.kind in "iub" and array.size <= 64
    floats = array is not None and array.dtype.kind == "f" and array.size <= 8 and np.isfinite(array).all()
    if integers or floats:
        entry["values"] = [float(each) if floats else int(each) for each in array.ravel()]
    return entry


def write_value(path, info, value):
    if isinstance(value, onnx.TensorProto):
        path.write_bytes(value.SerializeToString())
    elif is_tensor(info):
        path.write_bytes(numpy_helper.from_array(np.asarray(value), info.name).SerializeToString())


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("output", type=pathlib.Path)
    parser.add_argument("--data", type=pathlib.Path)
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    recorded = []
    for case in collect_testcases(None):
        graph = case.model.graph
        if not case.data_sets:
            continue
        inputs, outputs = case.data_sets[0]
        stripped = onnx.ModelProto()
        stripped.CopyFrom(case.model)
        stripped.graph.name = "g"
        stripped.ClearField("producer_name")
        for output in stripped.graph.output:
            output.ClearField("type")
        model = stripped.SerializeToString(deterministic=True)
        recorded.append(
            {
                "name": case.name,
                "model": model,
                "bytes": len(model),
                "inputs": [described(info, value) for info, value in zip(graph.input, inputs)],
                "outputs": [
                    {k: v for k, v in described(info, value).items() if k != "values"}
                    for info, value in zip(graph.output, outputs)
                ],
            }
        )
        if arguments.data is not None:
            folder = arguments.data / case.name
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "model.onnx").write_bytes(case.model.SerializeToString())
            for kind, infos, values in (("input", graph.input, inputs), ("output", graph.output, outputs)):
                for index, (info, value) in enumerate(zip(infos, values)):
                    write_value(folder / f"{kind}_{index}.pb", info, value)
    recorded.sort(key=lambda entry: entry["name"])
    models = b"".join(entry.pop("model") for entry in recorded)
    text = json.dumps({"onnx": onnx.__version__, "cases": recorded}, separators=(",", ":")).encode()
    arguments.output.write_bytes(len(text).to_bytes(4, "little") + text + models)
    print(f"{len(recorded)} cases, {arguments.output.stat().st_size} bytes")


if __name__ == "__main__":
    main()
