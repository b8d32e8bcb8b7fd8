"""The weights in a released ``speech_tokenizer_v2.onnx`` or ``_v3.onnx``: arrays named after the nodes that use them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

WANTED = re.compile(r"^(conv[12]|blocks\.\d+\.(attn\.(query|key|value|out|fsmn_block)|attn_ln|mlp_ln|mlp\.[02]))$")
QUANTIZER, QUANTIZER_BIAS = "quantizer._codebook.project_down", "quantizer.project_in.bias"
KINDS = {"MatMul": ("weight",), "Mul": ("weight",), "Add": ("bias",), "Conv": ("weight", "bias"), "LayerNormalization": ("weight", "bias")}  # fmt: skip


def read_onnx(path: Path) -> dict[str, Tensor]:
    """The state dict of the network. Raises whatever the library raises for other files."""
    import torch

    onnx: Any = import_module("onnx")
    graph = onnx.load(str(path)).graph
    arrays = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant":
            [value] = node.attribute
            arrays[node.output[0]] = onnx.numpy_helper.to_array(value.t)
    found = {name: array for node in graph.node for name, array in _of_node(node, arrays)}
    found |= {f"encoder.{name}": array for name, array in arrays.items() if name.endswith("fsmn_block.weight")}
    if QUANTIZER_BIAS in arrays:
        found[f"{QUANTIZER}.bias"] = arrays[QUANTIZER_BIAS]
    return {name: torch.from_numpy(np.array(array)) for name, array in found.items()}


def _of_node(node: Any, arrays: dict[str, np.ndarray]) -> Iterator[tuple[str, np.ndarray]]:
    """What one node brings to the state dict; single numbers, such as a norm's epsilon, are no weights."""
    own = [arrays[name] for name in node.input if name in arrays and arrays[name].size > 1]
    place = node.name.strip("/").rpartition("/")[0].replace("/", ".").replace("mlp.mlp.", "mlp.")
    if "quantizer" in node.name and node.op_type == "MatMul":
        place = QUANTIZER
    elif WANTED.match(place):
        place = f"encoder.{place}"
    else:
        return
    for kind, array in zip(KINDS.get(node.op_type, ()), own, strict=False):
        yield f"{place}.{kind}", array.T if node.op_type == "MatMul" else array
