"""Results: what was built, what is inside an artifact, which targets there are."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from exporter.findings import Finding, Severity
from exporter.manifest import ArtifactRecord, Manifest
from exporter.spec import ModelSpec, Preprocess, ResizeRule
from exporter.target import Contents, TargetInfo
from exporter.tasks import Task
from exporter.ui.text import STYLES, megabytes, verdict
from exporter.verdicts import Gate, Outcome, Quality

if TYPE_CHECKING:
    from exporter.costs import Costs
    from exporter.inspection import Inspection

LARGEST_LAYERS = 12


def print_summary(console: Console, manifest: Manifest) -> None:
    """The artifact table and the cross-target matrix."""
    console.print("\n[italic]Artifacts, reloaded from disk[/]")
    console.print(_artifact_table(manifest))
    judged = [(a.path, a.quality) for a in manifest.artifacts if a.quality is not None]
    if judged:
        console.print(f"\n[italic]Against the float model, on {judged[0][1].images} images[/]")
        console.print(_quality_table(judged, manifest.spec.task))
    for precision in dict.fromkeys(a.precision for a in manifest.artifacts):
        records = [a for a in manifest.artifacts if a.precision is precision]
        if len(records) > 1:
            console.print(f"\n[italic]{precision}: each target against each other[/]")
            console.print(_matrix(manifest, records))
            for caption in _captions(manifest, records):
                console.print(f"[dim italic]{escape(caption)}[/]")
    proved = [(a.path, a.parity.gates) for a in manifest.artifacts if a.parity.gates]
    if proved:
        console.print("\n[italic]Proved in parts[/]")
        console.print(_gate_table(proved))
    for failure in manifest.failures:
        text = f"{failure.target} {failure.precision}: {failure.error}"
        console.print(f"[bold red]failed[/] {escape(text)}")


def _artifact_table(manifest: Manifest) -> Table:
    """Size, parity, and how right it is where there are true labels."""
    scores = [a.accuracy for a in manifest.artifacts if a.accuracy is not None]
    columns = list(scores[0].columns()) if scores else []
    table = _table("file", "against the reference", numbers=("size",))
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    if scores and manifest.float_accuracy is not None:
        figures = manifest.float_accuracy.columns().values()
        table.add_row("float model", "", "", *figures, style="dim")
    for record in manifest.artifacts:
        row = [record.path, verdict(record.parity), megabytes(record.size_bytes)]
        score = record.accuracy
        table.add_row(*row, *([""] * len(columns) if score is None else score.columns().values()))
    return table


def _quality_table(judged: list[tuple[str, Quality]], task: Task) -> Table:
    """Figures, not verdicts: how much of the float model's signal is left."""
    same = "same top-1" if task is Task.CLASSIFICATION else "agreement"
    table = _table("file", numbers=("SQNR", same, "KL, nats", "max |difference|"))
    for path, figures in judged:
        table.add_row(
            path,
            "" if figures.sqnr_db is None else f"{figures.sqnr_db:.1f} dB",
            f"{figures.top1_agreement:.1%}",
            "" if figures.kl is None else f"{figures.kl:.1e}",
            "" if figures.max_abs is None else f"{figures.max_abs:.2g}",
        )
    return table


def _gate_table(proved: list[tuple[str, tuple[Gate, ...]]]) -> Table:
    """What each part of a proof found."""
    table = _table("file", "part", "result", numbers=())
    for path, gates in proved:
        for index, gate in enumerate(gates):
            mark = "[green]passed[/]" if gate.passed else "[bold red]failed[/]"
            result = f"{mark}: {escape(gate.detail)}"
            table.add_row("" if index else path, escape(gate.name), result)
    return table


def _table(*texts: str, numbers: tuple[str, ...]) -> Table:
    table = Table()
    for column in texts:
        table.add_column(column)
    for column in numbers:
        table.add_column(column, justify="right", no_wrap=True)
    return table


def _matrix(manifest: Manifest, records: list[ArtifactRecord]) -> Table:
    """Every pair of artifacts of one precision."""
    pairs = {(p.a, p.b): p for p in manifest.pairs}
    table = Table()
    table.add_column("")
    for record in records[1:]:
        table.add_column(_suffix(record), justify="right")
    for i, a in enumerate(records[:-1]):
        row = [_suffix(a)]
        for j, b in enumerate(records[1:], start=1):
            pair = pairs.get((a.path, b.path)) if j > i else None
            row.append("" if pair is None else _cell(pair.outcome, pair.max_lsb, pair.max_abs))
        table.add_row(*row)
    return table


def _captions(manifest: Manifest, records: list[ArtifactRecord]) -> Iterator[str]:
    """What the matrix's figures cannot say."""
    for record in records:
        if record.parity.by:
            yield f"{_suffix(record)}: {record.parity.by}"
    paths = {record.path for record in records}
    if any(p.a in paths and p.reason and p.max_lsb for p in manifest.pairs):
        yield "above 0 LSB: exactly as the runtimes' rounding rules differ"


def _suffix(record: ArtifactRecord) -> str:
    """What tells artifacts of one precision apart."""
    return record.path[record.path.rindex(".") :]


def _cell(outcome: Outcome, max_lsb: int | None, max_abs: float | None) -> str:
    color = STYLES[outcome]
    if outcome is Outcome.NOT_RUN:
        return f"[{color}]not run[/]"
    figure = f"{max_abs:.1e}" if max_abs is not None else str(outcome)
    return f"[{color}]{figure if max_lsb is None else f'{max_lsb} LSB'}[/]"


def print_inspection(console: Console, found: Inspection, counted: Costs | None) -> None:
    """Inputs and outputs, operations, delegation, largest layers, preprocessing, labels."""
    contents = found.contents
    console.print(f"[bold]{escape(contents.format)}[/], {megabytes(contents.size_bytes)}")
    console.print(f"delegation: {escape(contents.delegation)}")
    if found.record is not None:
        console.print(f"parity when built: {verdict(found.record.parity)}")
    console.print(_io_table(contents))
    counts = sorted(contents.ops.items(), key=lambda item: (-item[1], item[0]))
    console.print("operations: " + ", ".join(f"{n} {escape(op)}" for op, n in counts))
    console.print(_layer_table(contents))
    if found.spec is not None:
        _print_spec(console, found.spec, found.spec_origin)
    if counted is not None:
        console.print(counts_text(counted))
    for note in contents.notes:
        console.print(f"[dim]{escape(note)}[/]")
    if contents.findings is not None:
        print_findings(console, contents.findings)


def print_findings(console: Console, findings: tuple[Finding, ...]) -> None:
    """Each finding on a line with its cure below, or that there are none."""
    if not findings:
        console.print("findings: [green]none[/]")
    for finding in findings:
        color = "red" if finding.severity is Severity.ERROR else "yellow"
        text = f"{finding.title}: {finding.message}"
        console.print(f"[bold {color}]{finding.severity} {finding.id}[/] {escape(text)}")
        console.print(f"  [dim]{escape(finding.cure)}[/]")


def _io_table(contents: Contents) -> Table:
    table = Table(box=None, pad_edge=False)
    for column in ("", "name", "shape", "type", ""):
        table.add_column(column)
    for kind, tensors in (("input", contents.inputs), ("output", contents.outputs)):
        for tensor in tensors:
            shape = " x ".join(str(size) for size in tensor.shape)
            table.add_row(kind, escape(tensor.name), shape, tensor.dtype, escape(tensor.note))
    return table


def _layer_table(contents: Contents) -> Table:
    largest = sorted(contents.layers, key=lambda layer: -layer.size_bytes)[:LARGEST_LAYERS]
    total = sum(layer.size_bytes for layer in contents.layers) or 1
    table = Table(
        title=f"largest of {len(contents.layers)} layers by constants", title_justify="left"
    )
    for column in ("layer", "operation"):
        table.add_column(column)
    for column in ("bytes", "share"):
        table.add_column(column, justify="right")
    for layer in largest:
        share = f"{layer.size_bytes / total:.1%}"
        table.add_row(escape(layer.name), escape(layer.op), f"{layer.size_bytes:,}", share)
    return table


def _print_spec(console: Console, spec: ModelSpec, origin: str) -> None:
    contract = spec.preprocess
    console.print(
        f"model: {spec.network} {spec.width:g} at {spec.resolution} px, {spec.classes} classes "
        f"[dim](from {escape(origin)})[/]"
    )
    console.print(f"preprocessing: {escape(preprocess_text(contract))}")
    shown = ", ".join(spec.labels[:8]) + (", ..." if len(spec.labels) > 8 else "")
    console.print(f"labels: {escape(shown) or 'none'}")


def preprocess_text(contract: Preprocess) -> str:
    """The contract in one line."""
    resize = f"{contract.resize_filter} resize of the shorter side to {contract.resize_size}"
    if contract.resize_rule is ResizeRule.STRETCH:
        resize = f"{contract.resize_filter} stretch to {contract.resize_size}"
    scale, bias = contract.affine()
    affine = "; ".join(
        f"u * {s:.9g} {'-' if b < 0 else '+'} {abs(b):.9g}"
        for s, b in zip(scale, bias, strict=True)
    )
    if len(set(zip(scale.tolist(), bias.tolist(), strict=True))) == 1:
        affine = affine.split(";")[0]
    return f"{resize}, crop {contract.crop_size}, {contract.channel_order}, {affine}"


def print_costs(console: Console, spec: ModelSpec, counted: Costs) -> None:
    """Totals and a row per fused layer."""
    table = Table(title_justify="left")
    table.add_column("layer")
    table.add_column("operation")
    for column in ("output", "parameters", "MAdds"):
        table.add_column(column, justify="right")
    for layer in counted.layers:
        shape = _shape(layer.output_shape)
        numbers = f"{layer.parameters:,}", f"{layer.multiply_adds:,}"
        table.add_row(layer.name, layer.kind, shape, *numbers)
    console.print(table)
    console.print(
        f"{spec.network} {spec.width:g} at {spec.resolution} px, {spec.classes} classes: "
        + counts_text(counted)
    )
    if spec.task is not Task.CLASSIFICATION:
        shapes = (f"{name} {_shape(shape)}" for name, shape in counted.outputs.items())
        console.print(f"outputs: {', '.join(shapes)}")


def _shape(shape: tuple[int, ...]) -> str:
    """Without the batch."""
    return " x ".join(str(size) for size in shape[1:])


def counts_text(counted: Costs) -> str:
    """Totals as papers give them."""
    millions = f"{counted.multiply_adds / 1e6:.3f} M"
    return f"[bold]{counted.parameters:,}[/] parameters, [bold]{millions}[/] multiply-adds"


def print_targets(console: Console, rows: list[tuple[TargetInfo, str]]) -> None:
    """The static table; each row with what is missing to use it here, if anything."""
    table = Table()
    for column in ("target", "format", "file", "precision", "runs on", "parity here", "needs"):
        table.add_column(column)
    for info, missing in rows:
        needs = f"[yellow]{escape(missing)}[/]" if missing else "[green]installed[/]"
        precisions = ", ".join(info.precisions)
        table.add_row(
            info.name, info.format, info.suffix, precisions, info.runs_on, info.parity, needs
        )
    console.print(table)
