"""How artifacts are run in Python: code that the tests run and hold to the golden's results."""

from __future__ import annotations

import json

from exporter.manifest import ArtifactRecord, Manifest
from exporter.report.records import Inside, Snippet
from exporter.spec import ChannelOrder, Preprocess, ResizeRule

PHOTO = "photo.jpg"  # what every snippet opens


def python_snippet(manifest: Manifest, record: ArtifactRecord, inside: Inside) -> Snippet | None:
    """From a photo to the results; None for what Python cannot run on any machine."""
    runtime = RUNTIMES.get(record.target)
    if runtime is None or record.self_test is None:
        return None
    if record.path.endswith(".ptl"):
        runtime = LITE
    name, imports, run = runtime
    integers = bool(inside.inputs) and inside.inputs[0].dtype in ("int8", "uint8")
    if record.target == "litert" and integers:
        run = LITERT_INTEGERS
    values = {
        "file": json.dumps(record.path),
        "input": json.dumps(inside.inputs[0].name if inside.inputs else "input"),
        "outputs": ", ".join(json.dumps(o.name) for o in record.self_test.outputs),
    }
    body = run.format(**values)
    if len(record.self_test.outputs) > 1:
        body = body.replace("[results]", "results")  # a tuple already
    code = f"{imports}\nimport numpy as np\nfrom PIL import Image, ImageOps\n\n"
    code += f"{_pixels(manifest.spec.preprocess)}\n{_normalized(manifest)}\n\n{body}"
    return Snippet(title=f"Python, {name}", language="python", code=code.lstrip("\n"))


def _pixels(rules: Preprocess) -> str:
    """Steps 1 to 3 of the contract, as `exporter.preprocess` does them."""
    size, crop = rules.resize_size, rules.crop_size
    kind = f"Image.Resampling.{rules.resize_filter.name}"
    lines = [f'image = ImageOps.exif_transpose(Image.open("{PHOTO}")).convert("RGB")']
    if rules.resize_rule is ResizeRule.STRETCH:
        lines.append(f"width, height = {size}, {size}")
    else:
        lines.append("short, long = sorted(image.size)")
        lines.append(f"other = max({size}, int({size} * long / short))")
        lines.append(
            f"width, height = ({size}, other) if image.width <= image.height else (other, {size})"
        )
    lines.append(f"image = image.resize((width, image.height), {kind})")
    lines.append(f"image = image.resize((width, height), {kind})")
    if rules.resize_rule is ResizeRule.SHORTEST:
        lines.append(f"left, top = round((width - {crop}) / 2), round((height - {crop}) / 2)")
        lines.append(f"image = image.crop((left, top, left + {crop}, top + {crop}))")
    return "\n".join(lines)


def _normalized(manifest: Manifest) -> str:
    """Steps 4 to 6: float32 (1, 3, r, r)."""
    scale, bias = (
        ", ".join(f"{float(v):.9g}" for v in manifest.normalize[name]) for name in ("scale", "bias")
    )
    bgr = manifest.spec.preprocess.channel_order is ChannelOrder.BGR
    return f"""\
pixels = np.asarray(image){"[..., ::-1]" if bgr else ""}
scale = np.array([{scale}], np.float32)
bias = np.array([{bias}], np.float32)
x = np.ascontiguousarray((pixels.astype(np.float32) * scale + bias).transpose(2, 0, 1)[None])"""


EXECUTORCH = (
    "ExecuTorch",
    "import torch\nfrom executorch.runtime import Runtime",
    """\
method = Runtime.get().load_program({file}).load_method("forward")
results = [tensor.numpy() for tensor in method.execute([torch.from_numpy(x)])]
outputs = dict(zip([{outputs}], results))""",
)
ONNX = (
    "ONNX Runtime",
    "import onnxruntime",
    """\
session = onnxruntime.InferenceSession({file}, providers=["CPUExecutionProvider"])
names = [{outputs}]
outputs = dict(zip(names, session.run(names, {{{input}: x}})))""",
)
LITERT = (
    "LiteRT",
    "from ai_edge_litert.interpreter import Interpreter",
    """\
runner = Interpreter(model_path={file}).get_signature_runner()
outputs = runner(**{{{input}: x.transpose(0, 2, 3, 1)}})  # channels last; {outputs}""",
)
LITERT_INTEGERS = """\
interpreter = Interpreter(model_path={file})
runner = interpreter.get_signature_runner()
details = runner.get_input_details()[{input}]
scale, zero_point = details["quantization"]
limits = np.iinfo(details["dtype"])
codes = np.rint(x.transpose(0, 2, 3, 1) * (np.float32(1) / np.float32(scale))) + zero_point
outputs = runner(**{{{input}: np.clip(codes, limits.min, limits.max).astype(details["dtype"])}})"""
TORCHSCRIPT = (
    "TorchScript",
    "import torch",
    """\
module = torch.jit.load({file})
with torch.inference_mode():
    results = module(torch.from_numpy(x))
outputs = dict(zip([{outputs}], [results]))""",
)
LITE = (
    "lite interpreter",
    "import torch\nfrom torch.jit.mobile import _load_for_lite_interpreter",
    """\
module = _load_for_lite_interpreter({file})
with torch.inference_mode():
    results = module(torch.from_numpy(x))
outputs = dict(zip([{outputs}], [results]))""",
)
RUNTIMES = {"android": EXECUTORCH, "onnx": ONNX, "litert": LITERT, "torchscript": TORCHSCRIPT}
