"""ExecuTorch as its documentation quantizes for XNNPACK: PT2E, static int8, a scale per channel."""

from __future__ import annotations

import sys

from recipe import Done, Job, main


def export(job: Job) -> Done:
    """Prepare, calibrate, convert, lower, write."""
    with job.stage("imports"):
        import torch
        from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
        from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import (
            XNNPACKQuantizer,
            get_symmetric_quantization_config,
        )
        from executorch.exir import to_edge_transform_and_lower
        from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e
    example = (job.example(),)
    with job.stage("export"):
        module = torch.export.export(job.network, example).module()
    with job.stage("calibrate"), torch.no_grad():
        quantizer = XNNPACKQuantizer()
        quantizer.set_global(get_symmetric_quantization_config(is_per_channel=True))
        prepared = prepare_pt2e(module, quantizer)
        for image in torch.from_numpy(job.images).split(1):
            prepared(image)
        quantized = convert_pt2e(prepared)
    with job.stage("export"):
        exported = torch.export.export(quantized, example)
    with job.stage("lower"):
        edge = to_edge_transform_and_lower(exported, partitioner=[XnnpackPartitioner()])
        program = edge.to_executorch()
    path = job.out / "model-int8.pte"
    with job.stage("write"):
        path.write_bytes(program.buffer)
    return Done(files=(path,), verified="no", packages=("executorch", "torchao"))


if __name__ == "__main__":
    sys.exit(main(__doc__, export))
