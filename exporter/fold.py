"""A trained network with batch norm becomes a float QuantizedGraph without it."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from exporter.ends import BOX_HEADS, CLASS_HEADS, with_ends
from exporter.graph import (
    RELU,
    RELU6,
    Clamp,
    Concat,
    Linear,
    Output,
    Permute,
    Pool,
    QuantizedGraph,
    Reshape,
    Resize,
    Weight,
)
from exporter.graph_builder import GraphBuilder
from exporter.models import MobileDeepLabV3, MobileNetV2, Network, SSDLite
from exporter.models.ssdlite import BOX, FIRST_MAP
from exporter.outputs import Ends, Outputs, default_outputs

CLAMPS: dict[type[nn.Module], Clamp] = {nn.ReLU: RELU, nn.ReLU6: RELU6}


def fold(model: Network, outputs: Outputs | None = None) -> QuantizedGraph:
    """The network's graph that ends in `outputs`, by default as the task's module does.

    Raises as `fold_core` does, and UnsupportedError for outputs that the task does not have.
    """
    wanted = default_outputs(model.spec.task) if outputs is None else outputs
    return with_ends(fold_core(model), Ends(outputs=wanted))


def fold_core(model: Network) -> QuantizedGraph:
    """Walk the network once; batch norm goes into the convolutions in float64, rounded once.

    It ends where the weights do: in logits, a detector's raw results, a segmenter's small logits.
    Raises GraphError when a folded weight is not finite.
    """
    graph = GraphBuilder(spec=model.spec)
    x = graph.features(model.features, graph.input())
    if isinstance(model, SSDLite):
        _fold_ssdlite(graph, model, x)
    elif isinstance(model, MobileDeepLabV3):
        _fold_deeplab(graph, model, x)
    else:
        _fold_classifier(graph, model, x)
    return graph.finish()


def core_results(model: Network, images: torch.Tensor) -> dict[str, np.ndarray]:
    """What the module itself gives at the places where `fold_core` ends, by the same names."""
    if isinstance(model, SSDLite):
        raw = model(images)
        return {"class_logits": raw.class_logits.numpy(), "box_offsets": raw.box_offsets.numpy()}
    if isinstance(model, MobileDeepLabV3):
        return {str(Outputs.LOWRES_LOGITS): model.lowres(images).numpy()}
    return {"logits": model(images).numpy()}


def _fold_classifier(graph: GraphBuilder, model: MobileNetV2, x: str) -> None:
    x = graph.apply(Pool(input=x, output="pool"))
    x = graph.apply(Reshape(input=x, output="flatten", shape=graph.shape(x)[:2]))
    layers = [layer for layer in model.classifier if not isinstance(layer, nn.Dropout)]
    linears = [i for i, layer in enumerate(layers) if isinstance(layer, nn.Linear)]
    for position, i in enumerate(linears):
        linear = layers[i]
        follower = layers[i + 1] if i + 1 < len(layers) else None
        name = "classifier" if i == linears[-1] else f"classifier.{position}"
        assert isinstance(linear, nn.Linear)
        x = graph.apply(
            Linear(
                input=x,
                output=name,
                weight=Weight(values=linear.weight.detach().float().numpy().copy()),
                bias=linear.bias.detach().float().numpy().copy(),
                clamp=None if follower is None else CLAMPS.get(type(follower)),
            )
        )
    graph.apply(Output(input=x, output="logits"))


def _fold_ssdlite(graph: GraphBuilder, model: SSDLite, x: str) -> None:
    """Two heads on each of six maps, whose results are joined into one list of anchors."""
    maps = [f"features.{FIRST_MAP}.conv.0", x]
    for index, extra in enumerate(model.extras):
        for i, layer in enumerate(extra.children()):
            x = graph.conv_bn_relu6(layer, x, f"extras.{index}.{i}")
        maps.append(x)
    logits = _heads(graph, model.classifiers, maps, CLASS_HEADS, model.spec.classes)
    offsets = _heads(graph, model.regressors, maps, BOX_HEADS, BOX)
    graph.apply(Output(input=logits, output="class_logits"))
    graph.apply(Output(input=offsets, output="box_offsets"))


def _heads(
    graph: GraphBuilder, heads: nn.ModuleList, maps: list[str], name: str, values: int
) -> str:
    """Every map's (1, k * values, h, w) -> (1, h * w * k, values), joined."""
    parts = []
    for index, (head, source) in enumerate(zip(heads, maps, strict=True)):
        depthwise, predictor = head.children()
        x = graph.conv_bn_relu6(depthwise, source, f"{name}.{index}.0")
        x = graph.conv(predictor, x, f"{name}.{index}.1")
        x = graph.apply(Permute(input=x, output=f"{name}.{index}.nhwc", order=(0, 2, 3, 1)))
        _, height, width, channels = graph.shape(x)
        shape = (1, height * width * (channels // values), values)
        parts.append(graph.apply(Reshape(input=x, output=f"{name}.{index}.flat", shape=shape)))
    return graph.apply(Concat(inputs=tuple(parts), output=f"{name}.joined", axis=1))


def _fold_deeplab(graph: GraphBuilder, model: MobileDeepLabV3, x: str) -> None:
    height, width = graph.shape(x)[2:]
    y = graph.apply(Pool(input=x, output="pool"))
    y = graph.conv_bn_relu6(model.pooled, y, "pooled")
    parts = [graph.apply(Resize(input=y, output="pooled.resized", size=(height, width)))]
    for index, branch in enumerate(model.branches):
        parts.append(graph.conv_bn_relu6(branch, x, f"branches.{index}"))
    x = graph.apply(Concat(inputs=tuple(parts), output="joined", axis=1))
    x = graph.conv_bn_relu6(model.project, x, "project")
    x = graph.conv(model.classifier, x, "classifier")
    graph.apply(Output(input=x, output=str(Outputs.LOWRES_LOGITS)))
