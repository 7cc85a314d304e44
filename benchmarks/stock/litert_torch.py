"""LiteRT as its documentation quantizes: litert-torch to float, then static int8."""

from __future__ import annotations

import sys

from recipe import Done, Job, main


def export(job: Job) -> Done:
    """Convert, calibrate, quantize, write."""
    with job.stage("imports"):
        import litert_torch
        from ai_edge_quantizer import quantizer, recipe
    exact, path = job.out / "exact.tflite", job.out / "model-int8.tflite"
    with job.stage("convert"):
        litert_torch.convert(job.network, (job.example(),)).export(str(exact))
    with job.stage("calibrate"):
        tool = quantizer.Quantizer(str(exact), recipe.static_wi8_ai8())
        samples = [{"args_0": job.images[i : i + 1]} for i in range(len(job.images))]
        ranges = tool.calibrate({"serving_default": samples})
    with job.stage("quantize"):
        tool.quantize(ranges).export_model(str(path), overwrite=True)
    exact.unlink()
    packages = ("litert-torch", "ai-edge-quantizer", "ai-edge-litert")
    return Done(files=(path,), verified="no", packages=packages)


if __name__ == "__main__":
    sys.exit(main(__doc__, export))
