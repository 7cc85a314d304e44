"""Ultralytics' exporter: an attempt, since it exports its own networks."""

from __future__ import annotations

import sys

from recipe import Done, Job, main


def export(job: Job) -> Done:
    """Offer it the network as torch saves one, and export what it makes of that."""
    with job.stage("imports"):
        import torch
        from ultralytics import YOLO
    given = job.out / "network.pt"
    torch.save({"model": job.network}, given)
    with job.stage("export"):
        side = job.images.shape[2]
        written = YOLO(given, task="classify").export(format="onnx", imgsz=side, batch=1)
    given.unlink()
    path = job.out / "model.onnx"
    (job.out / written).rename(path)
    return Done(files=(path,), verified="no", packages=("ultralytics",))


if __name__ == "__main__":
    sys.exit(main(__doc__, export, ("fp32",)))
