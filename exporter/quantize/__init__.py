"""A float QuantizedGraph and a few unlabeled images become an int8 QuantizedGraph.

equalize.py         channels of the linear streams more alike, the model the same
fake_quant.py       the graph as a module with explicit fake-quant
ranges.py           activation ranges (MSE) and the input scale without rounding ties
bias_correction.py  one streaming pass that removes the mean error of every layer
to_graph.py         the module back into an integer graph
integer_network.py  the int8 graph on torch: as exact as the golden, and faster
qat_layer.py        a layer whose integers are trained (rounding.py)
block_qat.py        weights and biases trained block by block on the same images
qat_network.py      the whole graph as a module to train; exporter/training/qat.py does
settings.py         bits per kind of tensor, and how block-wise training goes about it
stages.py           all of these in turn, each kept only if it helps
health.py           what would ruin quantization, found beforehand
"""

from __future__ import annotations

import numpy as np
import torch

from exporter.graph import QuantizedGraph
from exporter.memory import return_pages
from exporter.quantize.bias_correction import correct_biases
from exporter.quantize.equalize import equalize
from exporter.quantize.fake_quant import FusedNetwork
from exporter.quantize.ranges import calibrate
from exporter.quantize.to_graph import to_graph

__all__ = ["quantize"]


def quantize(graph: QuantizedGraph, images: np.ndarray) -> QuantizedGraph:
    """Post-training quantization to W8A8.

    `graph` is a float graph, `images` its calibration inputs, float32 (n, 3, r, r), normalized by
    the spec's contract; 32 or more are advisable. The same arguments give the same graph.
    """
    network = FusedNetwork(equalize(graph, images)).eval()
    batch = torch.from_numpy(images)
    with torch.no_grad():
        calibrate(network, batch)
        correct_biases(network, batch)
    return_pages()  # of what was held of all images
    return to_graph(network)
