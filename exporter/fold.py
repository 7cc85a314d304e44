"""A trained network with batch norm becomes a float QuantizedGraph without it."""

from __future__ import annotations

from torch import nn

from exporter.detection.anchors import make_anchors
from exporter.graph import (
    RELU,
    RELU6,
    Clamp,
    Concat,
    DecodeBoxes,
    Linear,
    Output,
    Permute,
    Pool,
    QuantizedGraph,
    Reshape,
    Resize,
    Sigmoid,
    Weight,
)
from exporter.graph_builder import GraphBuilder
from exporter.models import MobileDeepLabV3, MobileNetV2, Network, SSDLite
from exporter.models.ssdlite import BOX, FIRST_MAP
from exporter.outputs import Outputs, check_outputs, default_outputs

CLAMPS: dict[type[nn.Module], Clamp] = {nn.ReLU: RELU, nn.ReLU6: RELU6}


def fold(model: Network, outputs: Outputs | None = None) -> QuantizedGraph:
    """Walk the network once; batch norm goes into the convolutions in float64, rounded once.

    `outputs` says how the graph ends, by default as the task's module does. Raises GraphError when
    a folded weight is not finite, UnsupportedError for outputs that the task does not have.
    """
    wanted = default_outputs(model.spec.task) if outputs is None else outputs
    check_outputs(model.spec.task, wanted)
    graph = GraphBuilder(spec=model.spec)
    x = graph.features(model.features, graph.input())
    if isinstance(model, SSDLite):
        _fold_ssdlite(graph, model, x, wanted)
    elif isinstance(model, MobileDeepLabV3):
        _fold_deeplab(graph, model, x, wanted)
    else:
        _fold_classifier(graph, model, x)
    return graph.finish()


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


def _fold_ssdlite(graph: GraphBuilder, model: SSDLite, x: str, wanted: Outputs) -> None:
    """Two heads on each of six maps, whose results are joined into one list of anchors."""
    spec, detection = model.spec, model.spec.detection
    assert detection is not None
    maps = [f"features.{FIRST_MAP}.conv.0", x]
    for index, extra in enumerate(model.extras):
        for i, layer in enumerate(extra.children()):
            x = graph.conv_bn_relu6(layer, x, f"extras.{index}.{i}")
        maps.append(x)
    logits = _heads(graph, model.classifiers, maps, "classifiers", spec.classes)
    offsets = _heads(graph, model.regressors, maps, "regressors", BOX)
    results = {"class_logits": logits, "box_offsets": offsets}
    if wanted is Outputs.DECODED:
        decode = DecodeBoxes(
            input=offsets,
            output="decode",
            anchors=make_anchors(detection, spec.resolution),
            center_variance=detection.center_variance,
            size_variance=detection.size_variance,
        )
        results = {
            "scores": graph.apply(Sigmoid(input=logits, output="sigmoid")),
            "boxes": graph.apply(decode),
        }
    for name, tensor in results.items():
        graph.apply(Output(input=tensor, output=name))


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


def _fold_deeplab(graph: GraphBuilder, model: MobileDeepLabV3, x: str, wanted: Outputs) -> None:
    height, width = graph.shape(x)[2:]
    y = graph.apply(Pool(input=x, output="pool"))
    y = graph.conv_bn_relu6(model.pooled, y, "pooled")
    parts = [graph.apply(Resize(input=y, output="pooled.resized", size=(height, width)))]
    for index, branch in enumerate(model.branches):
        parts.append(graph.conv_bn_relu6(branch, x, f"branches.{index}"))
    x = graph.apply(Concat(inputs=tuple(parts), output="joined", axis=1))
    x = graph.conv_bn_relu6(model.project, x, "project")
    x = graph.conv(model.classifier, x, "classifier")
    if wanted is Outputs.LOGITS:
        side = model.spec.resolution
        x = graph.apply(Resize(input=x, output="resized", size=(side, side)))
    graph.apply(Output(input=x, output=str(wanted)))
