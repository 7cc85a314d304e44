"""Core ML Tools' linear quantization as its documentation has it for PyTorch.

`w8a8` calibrates in PyTorch with LinearQuantizer, since the Core ML side's own calibration predicts
and so needs a Mac; `w8` stores int8 weights that are computed in fp16.
"""

from __future__ import annotations

import sys

from recipe import Done, Job, main

BATCH = 32  # its ranges are moving averages over batches, so single pictures would weigh little


def export(job: Job) -> Done:
    """Quantize, convert, write."""
    with job.stage("imports"):
        import coremltools as ct
        import coremltools.optimize as cto
        import torch
    example = job.example()
    network = calibrated(job, example) if job.variant == "w8a8" else job.network
    with job.stage("export"), torch.no_grad():
        traced = torch.jit.trace(network, (example,))
    with job.stage("convert"):
        package = ct.convert(
            traced,
            inputs=[ct.TensorType(name="image", shape=tuple(example.shape))],
            minimum_deployment_target=ct.target.iOS17,
            skip_model_load=True,
        )
    if job.variant == "w8":
        with job.stage("quantize"):
            how = cto.coreml.OpLinearQuantizerConfig(mode="linear_symmetric")
            config = cto.coreml.OptimizationConfig(global_config=how)
            package = cto.coreml.linear_quantize_weights(package, config=config)
    path = job.out / f"model-{job.variant}.mlpackage"
    with job.stage("write"):
        package.save(str(path))
    return Done(files=(path,), verified="no", packages=("coremltools",))


def calibrated(job: Job, example: object) -> object:
    """The network with quantizers in it, ranges from the pictures."""
    with job.stage("imports"):
        import torch
        from coremltools.optimize.torch.quantization import LinearQuantizer, LinearQuantizerConfig
    with job.stage("calibrate"), torch.no_grad():
        # As the documentation calibrates: the one step turns observers on (the first milestone) and
        # batch norm to inference (the last); the others are never reached.
        how = {"quantization_scheme": "symmetric", "milestones": [0, 1000, 1000, 0]}
        config = LinearQuantizerConfig.from_dict({"global_config": how})
        quantizer = LinearQuantizer(job.network, config)
        network = quantizer.prepare(example_inputs=(example,), inplace=True)
        quantizer.step()
        for images in torch.from_numpy(job.images).split(BATCH):
            network(images)
        return quantizer.finalize().eval()


if __name__ == "__main__":
    sys.exit(main(__doc__, export, ("w8a8", "w8")))
