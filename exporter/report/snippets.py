"""How each artifact is loaded where it runs, with the names and numbers of this very model.

The code is short enough to read before it is pasted; the apps that `mnv2-export sample` writes do
the same with every check around it. What the manifest holds as text (names of outputs and files)
enters as a literal of the language, quoted.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass

from exporter.manifest import ArtifactRecord, Manifest
from exporter.report.records import Inside, Snippet
from exporter.report.snippets_python import python_snippet
from exporter.spec import ChannelOrder

LITE = ".ptl"


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What the templates need."""

    file: str  # quoted
    side: int
    scale: tuple[float, ...]
    bias: tuple[float, ...]
    bgr: bool
    input: str  # quoted
    outputs: tuple[str, ...]  # quoted
    shapes: tuple[str, ...]  # "(24)", of one image's result
    dtypes: tuple[str, ...]
    input_dtype: str
    versions: dict[str, str]

    @property
    def count(self) -> str:
        """Of the input's numbers."""
        return f"3 * {self.side} * {self.side}"

    @property
    def nchw(self) -> str:
        """The input's shape."""
        return f"1, 3, {self.side}, {self.side}"

    @property
    def told(self) -> str:
        """The results and their shapes, for a comment."""
        named = zip(self.outputs, self.shapes, strict=True)
        return ", ".join(f"{name[1:-1]} {shape}" for name, shape in named)


def snippets(manifest: Manifest, record: ArtifactRecord, inside: Inside) -> tuple[Snippet, ...]:
    """For the platforms of an artifact's target; none for a target that has no template."""
    facts = _facts(manifest, record, inside)
    key = record.target
    if key == "ios" and record.path.endswith(".pte"):
        key = "ios pte"
    if record.path.endswith(LITE):
        key = "lite interpreter"
    found = tuple(write(facts) for write in WRITERS.get(key, ()))
    python = python_snippet(manifest, record, inside)
    return found if python is None else (*found, python)


def _facts(manifest: Manifest, record: ArtifactRecord, inside: Inside) -> Facts:
    """Names as the artifact has them; what could not be read is as the graph has it."""
    test = record.self_test
    outputs = () if test is None else test.outputs
    normalize = manifest.normalize
    return Facts(
        file=json.dumps(record.path),
        side=manifest.spec.resolution,
        scale=tuple(float(v) for v in normalize["scale"]),
        bias=tuple(float(v) for v in normalize["bias"]),
        bgr=manifest.spec.preprocess.channel_order is ChannelOrder.BGR,
        input=json.dumps(inside.inputs[0].name if inside.inputs else "input"),
        outputs=tuple(json.dumps(o.name) for o in outputs),
        shapes=tuple(f"({', '.join(map(str, o.shape))})" for o in outputs),
        dtypes=tuple(o.dtype for o in outputs),
        input_dtype=inside.inputs[0].dtype if inside.inputs else "float32",
        versions=manifest.versions,
    )


def _numbers(values: tuple[float, ...], suffix: str) -> str:
    return ", ".join(f"{v:.9g}".rstrip(".") + suffix for v in values)


def _release(facts: Facts, package: str) -> str:
    """The version that wrote the artifact, without a local build's mark."""
    version = facts.versions.get(package, "")
    return version.partition("+")[0] if version[:1].isdigit() else "RELEASE"


def _variable(name: str) -> str:
    """A quoted output name as an identifier."""
    cleaned = "".join(c for c in name if c.isascii() and c.isalnum())
    return cleaned if cleaned and not cleaned[0].isdigit() else f"output{cleaned}"


def _kotlin_fill(facts: Facts, nhwc: bool) -> str:
    place = "3 * i + c" if nhwc else f"c * {facts.side * facts.side} + i"
    channel = "2 - c" if facts.bgr else "c"
    return f"""\
// pixels: ByteArray of 8-bit RGB, {facts.side} x {facts.side}, resized by the contract
val scale = floatArrayOf({_numbers(facts.scale, "f")})
val bias = floatArrayOf({_numbers(facts.bias, "f")})
val input = FloatArray({facts.count})
for (i in 0 until {facts.side} * {facts.side}) for (c in 0 until 3) {{
    input[{place}] = (pixels[3 * i + {channel}].toInt() and 0xff) * scale[c] + bias[c]
}}"""


def _kotlin_executorch(facts: Facts) -> Snippet:
    reads = "\n".join(
        f"val {_variable(name)} = outputs[{i}].toTensor()."
        f"{'dataAsUnsignedByteArray' if dtype == 'uint8' else 'dataAsFloatArray'} // {shape}"
        for i, (name, dtype, shape) in enumerate(
            zip(facts.outputs, facts.dtypes, facts.shapes, strict=True)
        )
    )
    version = _release(facts, "executorch")
    code = f"""\
// build.gradle.kts: implementation("org.pytorch:executorch-android:{version}")
import java.io.File
import org.pytorch.executorch.EValue
import org.pytorch.executorch.Module
import org.pytorch.executorch.Tensor

// The runtime maps a file into memory: copy the asset to filesDir first.
val module = Module.load(File(context.filesDir, {facts.file}).path, Module.LOAD_MODE_MMAP)

{_kotlin_fill(facts, nhwc=False)}
val shape = longArrayOf({facts.nchw})
val outputs = module.forward(EValue.from(Tensor.fromBlob(input, shape)))
{reads}"""
    return Snippet(title="Android: Kotlin, ExecuTorch", language="kotlin", code=code)


def _cpp_executorch(facts: Facts) -> Snippet:
    version = _release(facts, "executorch")
    code = f"""\
// ExecuTorch {version}: link extension_module, extension_tensor and xnnpack_backend
#include <executorch/extension/module/module.h>
#include <executorch/extension/tensor/tensor.h>

executorch::extension::Module module({facts.file});
// data: std::vector<float> of {facts.count} in planes, normalized by the contract
auto input = executorch::extension::from_blob(data.data(), {{{facts.nchw}}});
auto result = module.forward(input); // {facts.told}
if (!result.ok()) return 1;
{_cpp_reads(facts, "result->at({i}).toTensor().const_data_ptr<{kind}>()")}"""
    return Snippet(title="C++, ExecuTorch", language="cpp", code=code)


def _cpp_reads(facts: Facts, expression: str) -> str:
    lines = []
    for i, (name, dtype) in enumerate(zip(facts.outputs, facts.dtypes, strict=True)):
        kind = "std::uint8_t" if dtype == "uint8" else "float"
        value = expression.format(i=i, kind=kind)
        lines.append(f"const {kind}* {_variable(name)} = {value};")
    return "\n".join(lines)


def _swift_core_ml(facts: Facts) -> Snippet:
    reads = "\n".join(
        f"let {_variable(name)} = result.featureValue(for: {name})?.multiArrayValue // {shape}"
        for name, shape in zip(facts.outputs, facts.shapes, strict=True)
    )
    code = f"""\
import CoreML

// package: the URL of {facts.file[1:-1]}; compile it once and keep the result
let model = try MLModel(contentsOf: try await MLModel.compileModel(at: package))

// buffer: a CVPixelBuffer of {facts.side} x {facts.side}, kCVPixelFormatType_32BGRA, resized by the
// preprocessing contract. The package normalizes the pixels itself.
let input = try MLDictionaryFeatureProvider(
    dictionary: [{facts.input}: MLFeatureValue(pixelBuffer: buffer)])
let result = try await model.prediction(from: input)
{reads}"""
    return Snippet(title="iOS, macOS: Swift, Core ML", language="swift", code=code)


def _swift_executorch(facts: Facts) -> Snippet:
    code = f"""\
// Swift package executorch, branch swiftpm-{_release(facts, "executorch")}, with backend_coreml
import ExecuTorch

let module = Module(filePath: path) // of {facts.file[1:-1]}
// values: [Float] of {facts.count} in planes, normalized by the contract
let input = Tensor<Float>(values, shape: [{facts.nchw}])
let outputs = try module.forward(input) // {facts.told}"""
    return Snippet(title="iOS, macOS: Swift, ExecuTorch", language="swift", code=code)


def _kotlin_litert(facts: Facts) -> Snippet:
    integers = facts.input_dtype in ("int8", "uint8")
    fill = (
        f"// codes: ByteArray of {facts.side} x {facts.side} x 3, quantized by the contract\n"
        "inputs[0].writeInt8(codes)"
        if integers
        else f"{_kotlin_fill(facts, nhwc=True)}\ninputs[0].writeFloat(input)"
    )
    read = "readInt8" if integers else "readFloat"
    reads = "\n".join(
        f"val {_variable(name)} = outputs[{i}].{read}() // {shape}, channels last"
        for i, (name, shape) in enumerate(zip(facts.outputs, facts.shapes, strict=True))
    )
    version = _release(facts, "ai-edge-litert")
    code = f"""\
// build.gradle.kts: implementation("com.google.ai.edge.litert:litert:{version}")
import com.google.ai.edge.litert.Accelerator
import com.google.ai.edge.litert.CompiledModel

val model = CompiledModel.create(
    context.assets, {facts.file}, CompiledModel.Options(Accelerator.CPU))
val inputs = model.createInputBuffers()
val outputs = model.createOutputBuffers()

{fill}
model.run(inputs, outputs)
{reads}"""
    return Snippet(title="Android: Kotlin, LiteRT", language="kotlin", code=code)


def _javascript_onnx(facts: Facts) -> Snippet:
    reads = ", ".join(f"{name}: {_variable(name)}" for name in facts.outputs)
    code = f"""\
// npm install onnxruntime-web
import * as ort from 'onnxruntime-web';

const session = await ort.InferenceSession.create({facts.file}, {{ executionProviders: ['wasm'] }});
// planes: Float32Array of {facts.count} in planes, normalized by the contract
const input = new ort.Tensor('float32', planes, [{facts.nchw}]);
const {{ {reads} }} = await session.run({{ {facts.input}: input }}); // {facts.told}"""
    return Snippet(title="Web: JavaScript, ONNX Runtime", language="javascript", code=code)


def _cpp_libtorch(facts: Facts) -> Snippet:
    several = len(facts.outputs) > 1
    reads = "\n".join(
        f"auto {_variable(name)} = results.toTuple()->elements()[{i}].toTensor(); // {shape}"
        if several
        else f"auto {_variable(name)} = results.toTensor(); // {shape}"
        for i, (name, shape) in enumerate(zip(facts.outputs, facts.shapes, strict=True))
    )
    code = f"""\
#include <torch/script.h>

torch::InferenceMode guard;
auto module = torch::jit::load({facts.file});
// data: std::vector<float> of {facts.count} in planes, normalized by the contract
auto input = torch::from_blob(data.data(), {{{facts.nchw}}});
auto results = module.forward({{input}});
{reads}"""
    return Snippet(title="C++, libtorch", language="cpp", code=code)


def _kotlin_lite(facts: Facts) -> Snippet:
    several = len(facts.outputs) > 1
    result = ".toTuple()" if several else ".toTensor()"
    code = f"""\
// build.gradle.kts: implementation("org.pytorch:pytorch_android_lite:2.1.0"), deprecated by PyTorch
import java.io.File
import org.pytorch.IValue
import org.pytorch.LiteModuleLoader
import org.pytorch.Tensor

val module = LiteModuleLoader.load(File(context.filesDir, {facts.file}).path)

{_kotlin_fill(facts, nhwc=False)}
val shape = longArrayOf({facts.nchw})
val results = module.forward(IValue.from(Tensor.fromBlob(input, shape))){result} // {facts.told}"""
    return Snippet(title="Android: Kotlin, lite interpreter", language="kotlin", code=code)


Writer = Callable[[Facts], Snippet]
WRITERS: dict[str, tuple[Writer, ...]] = {
    "android": (_kotlin_executorch, _cpp_executorch),
    "ios": (_swift_core_ml,),
    "ios pte": (_swift_executorch,),
    "onnx": (_javascript_onnx,),
    "litert": (_kotlin_litert,),
    "torchscript": (_cpp_libtorch,),
    "lite interpreter": (_kotlin_lite,),
}
