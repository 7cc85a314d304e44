"""Hugging Face's optimum-executorch: the network as transformers' MobileNetV2, XNNPACK, fp32.

It quantizes linear and embedding layers of transformers and offers no static int8 for convolutions,
so the pictures calibrate nothing.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from recipe import Done, Job, main

NOTE = "fp32: it has no int8 for convolutions"


def export(job: Job) -> Done:
    """Write a model folder as the hub's are, export that."""
    with job.stage("imports"):
        from optimum.exporters.executorch.convert import export_to_executorch
        from optimum.exporters.executorch.tasks.image_classification import (
            load_image_classification_model,
        )
    folder = job.out / "transformers"
    with job.stage("checkpoint"):
        save(job, folder)
        model = load_image_classification_model(str(folder))
    with job.stage("lower"):
        export_to_executorch(model, "image-classification", "xnnpack", str(job.out))
    shutil.rmtree(folder)
    job.notes.append(NOTE)
    packages = ("optimum-executorch", "executorch", "transformers")
    return Done(files=(job.out / "model.pte",), verified="no", packages=packages)


def save(job: Job, folder: Path) -> None:
    """The same tensors under transformers' names: both list them from the input to the output."""
    from transformers import MobileNetV2Config, MobileNetV2ForImageClassification

    state = job.network.state_dict()
    config = MobileNetV2Config(
        image_size=job.images.shape[2],
        num_labels=len(state["classifier.1.bias"]),
        layer_norm_eps=job.network.features[0][1].eps,
        tf_padding=job.network.features[0].shifted,
    )
    model = MobileNetV2ForImageClassification(config)
    names = list(model.state_dict())
    model.load_state_dict(dict(zip(names, state.values(), strict=True)))
    model.save_pretrained(folder)


if __name__ == "__main__":
    sys.exit(main(__doc__, export, ("fp32",)))
