"""Proves a Core ML package on any machine: its program and its weights, by reference evaluation.

Core ML runs on Apple systems only, and no two of its compute units round alike, so a package is
proved in parts. A twin of it, typed float32, is written from the graph and read back: the twin must
compute what the graph computes, exactly where it is int8; the package must hold the twin's program
and the twin's constants, and not a byte that the graph does not give; and it must itself, rounding
to fp16 as it declares, come as close as fp16 can. What Apple's kernels make of it is not proved; on
macOS Core ML itself runs the package too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch

from exporter.findings import Finding, Severity
from exporter.results import Results
from exporter.spec import Precision
from exporter.target import Claim, Examination, Runner, one_result
from exporter.threads import one_thread, side_by_side
from exporter.verdicts import FP16, Gate
from targets.coreml_figures import close, ratio_db, shared, unequal
from targets.coreml_runner import EvaluatorRunner
from targets.mil.integers import unmatched
from targets.mil.lint import lint
from targets.mil.package import Package
from targets.mil.program import Arithmetic, Program
from targets.mil.rules.resize import resize_bilinear
from targets.mil.twin import compare, file_differences
from targets.qdq_program import QdqModule

EVALUATOR = "program and weights, reference evaluator"
CORE_ML = "Core ML"
# What fp16 between the integers may cost of the SQNR to the float model: twice the noise, as if
# every code had been rounded once more. It is mostly nothing; on one image it has been 2 dB.
INT8_LOSS_DB = 3.0
MOST_DB = FP16.min_sqnr_db
# The same of labels and of detections: twice as many that are not the float model's, and a few more
# where there are hardly any. A detection counts as another one when its score moves by 0.02.
INT8_LOSS, INT8_SLACK = 2.0, 0.02
NOT_SUPPRESSED = (
    "Core ML's own suppression was not run, the graph's took its place; "
    "Core ML keeps no more than the best class of a box"
)
SHOWN = 3  # differences that a message names


def examine(
    shipped: Package, again: Package, twin: Package, claim: Claim, core_ml: Runner | None = None
) -> Examination:
    """Pass a package through every gate.

    `again` is the graph written once more as the package was, `twin` with float32 for every real.
    """
    with one_thread():
        return _examined(shipped, again, twin, claim, core_ml)


def _examined(
    shipped: Package, again: Package, twin: Package, claim: Claim, core_ml: Runner | None
) -> Examination:
    proof = _Proof(shipped=shipped, twin=twin, claim=claim)
    gates = [proof.same_program(), _same_files(shipped, again)]
    if claim.precision is Precision.INT8:
        gates += [proof.torch_qdq(), proof.integers(), proof.int8_end_to_end(proof.declared)]
        runner = proof.integer
    else:
        gates += [proof.float_twin(), proof.float_end_to_end(proof.declared)]
        runner = proof.declared
    findings = lint(shipped)
    gates.append(_static(findings))
    notes = [f"{f.id}: {f.message}; {f.cure}" for f in findings]
    if shipped.suppression is not None:
        core_ml = None  # it takes the best class of a box only, so its rows are others
        notes.append(NOT_SUPPRESSED)
    if core_ml is not None:
        gates.append(proof.core_ml(core_ml))
    return Examination(
        by=EVALUATOR if core_ml is None else CORE_ML,
        gates=tuple(gates),
        runner=runner,
        notes=tuple(notes),
        device_limits=proof.device_limits() if claim.precision is Precision.INT8 else {},
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class _Once:
    """Runs the images that all gates look at once."""

    runner: EvaluatorRunner
    images: np.ndarray

    @cached_property
    def _of_images(self) -> Results:
        return self.runner.results(self.images)

    def results(self, images: np.ndarray) -> Results:
        """As the runner gives them."""
        return self._of_images if images is self.images else self.runner.results(images)

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """The one result of a model that has one."""
        return one_result(self.results(images))

    def layers(self, images: np.ndarray) -> Mapping[str, np.ndarray]:
        """The runner's."""
        return self.runner.layers(images)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Proof:
    shipped: Package
    twin: Package
    claim: Claim

    def runner(
        self, package: Package, arithmetic: Arithmetic, *, reciprocal: bool = False
    ) -> EvaluatorRunner:
        program = Program(package, arithmetic, reciprocal=reciprocal)
        return EvaluatorRunner(program=program, spec=self.claim.graph.spec)

    @cached_property
    def declared(self) -> _Once:
        """What ships, rounding as it declares."""
        runner = self.runner(self.shipped, Arithmetic.DECLARED)
        return _Once(runner=runner, images=self.claim.images)

    @cached_property
    def integer(self) -> _Once:
        """The twin, its int8 layers in the golden's integers."""
        runner = self.runner(self.twin, Arithmetic.INTEGER)
        return _Once(runner=runner, images=self.claim.images)

    # --- the program and its constants -------------------------------------------------------

    def same_program(self) -> Gate:
        """Operation by operation, constant by constant."""
        found = compare(self.shipped, self.twin)
        wrong = found.differences
        right = f"{found.operations} operations, {found.constants} constants"
        return _listing("program and constants are the twin's", wrong, right)

    # --- float -------------------------------------------------------------------------------

    def float_twin(self) -> Gate:
        """The same numbers as the graph, up to the order of float32 sums."""
        actual = self.runner(self.twin, Arithmetic.DECLARED).results(self.claim.images)
        tolerance = self.claim.tolerances[Precision.FP32]
        return close("float32 twin against the graph", self.claim.expected, actual, tolerance)

    def float_end_to_end(self, runner: Runner) -> Gate:
        """Every rounding to fp16 that the package declares."""
        tolerance = self.claim.tolerances[self.claim.precision]
        name = f"{self.claim.precision} end to end"
        return close(name, self.claim.expected, runner.results(self.claim.images), tolerance)

    # --- int8 --------------------------------------------------------------------------------

    def torch_qdq(self) -> Gate:
        """The twin's real arithmetic gives the very bits that torch's quantize/dequantize gives."""
        module = _TorchQdq(self.claim.graph).eval()
        twin = self.runner(self.twin, Arithmetic.EXACT, reciprocal=True)  # as torch rounds

        def difference(image: np.ndarray) -> str:
            expected = module.results(torch.from_numpy(image[None]))
            held = {name: value.numpy() for name, value in expected.items()}
            return unequal(held, twin.results(image[None]))

        wrong = [text for text in side_by_side(difference, self.claim.images) if text]
        count = len(self.claim.images)
        detail = f"every bit equal on {count - len(wrong)} of {count} images"
        return Gate(
            name="float32 twin against torch q/dq",
            passed=not wrong,
            detail="; ".join([detail, *wrong[:1]]),
        )

    def integers(self) -> Gate:
        """Every layer, in the golden's integers."""
        real = unmatched(self.integer.runner.program.steps)
        actual = self.integer.results(self.claim.images)
        wrong = unequal(self.claim.expected, actual)
        count = len(self.claim.images)
        detail = f"{self.steps(actual)}, {wrong}" if wrong else f"0 LSB on {count} images"
        if real:
            detail += f"; not in integers: {', '.join(real[:SHOWN])}"
        return Gate(name="twin in integers", passed=not wrong and not real, detail=detail)

    def int8_end_to_end(self, runner: Runner) -> Gate:
        """Codes may flip where fp16 rounds differently; the model must not get worse by it."""
        actual = runner.results(self.claim.images)
        passed, told = True, []
        for name, value in self.claim.float_results.items():
            kept, text = _kept(name, value, self.claim.expected[name], actual[name])
            passed &= kept
            told.append(text if len(actual) == 1 else f"{name} {text}")
        told.append(f"{self.steps(actual)} from the golden")
        return Gate(name="int8 end to end", passed=passed, detail="; ".join(told))

    def device_limits(self) -> dict[str, float]:
        """What `int8_end_to_end` asks for, as figures that an app can hold a device to."""
        float_results, golden = self.claim.float_results, self.claim.expected
        least = {name: _least(name, value, golden[name]) for name, value in float_results.items()}
        # Integers that happen to be the float model's own numbers ask no more of fp16 than others.
        return {name: min(limit, MOST_DB) for name, limit in least.items()}

    def steps(self, results: Results) -> str:
        """The largest distance from the golden, in steps of an output's scale where it has one.

        Of labels and detections the share that is the golden's.
        """
        found = []
        for tensor in self.claim.graph.outputs:
            expected, actual = self.claim.expected[tensor.name], results[tensor.name]
            difference = float(np.abs(actual.astype(np.float64) - expected).max())
            if (share := shared(tensor.name, expected, actual)) is not None:
                found.append(f"{share:.2%} of {tensor.name}")
            elif tensor.qparams is None:
                found.append(f"{difference:.3g} ({tensor.name})")
            else:
                found.append(f"{round(difference / tensor.qparams.scale)} LSB")
        return ", ".join(found)

    # --- macOS -------------------------------------------------------------------------------

    def core_ml(self, runner: Runner) -> Gate:
        """Core ML's own kernels on the same images."""
        int8 = self.claim.precision is Precision.INT8
        gate = self.int8_end_to_end(runner) if int8 else self.float_end_to_end(runner)
        return Gate(name=CORE_ML, passed=gate.passed, detail=gate.detail)


class _TorchQdq(QdqModule):
    """Averages and enlarges like MIL: torch's own kernels sum in another order."""

    def pooled(self, x: torch.Tensor) -> torch.Tensor:
        return x.mean((2, 3), keepdim=True)

    def resized(self, x: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
        return resize_bilinear(x, *size, "UNALIGN_CORNERS")


def _kept(
    name: str, floating: np.ndarray, golden: np.ndarray, actual: np.ndarray
) -> tuple[bool, str]:
    """Whether an output is about as near to the float model's as the golden's is."""
    least = _least(name, floating, golden)
    wanted, reached = (shared(name, floating, v) for v in (golden, actual))
    if wanted is not None and reached is not None:
        text = f"{reached:.2%} as the float model, the golden {wanted:.2%}"
        return reached >= least, text
    wanted, reached = ratio_db(floating, golden), ratio_db(floating, actual)
    return reached >= least, f"{reached:.1f} dB to the float model, the golden {wanted:.1f} dB"


def _least(name: str, floating: np.ndarray, golden: np.ndarray) -> float:
    """How near to the float model an int8 output must come, given how near the golden comes."""
    share = shared(name, floating, golden)
    if share is not None:
        return max(0.0, 1 - INT8_LOSS * (1 - share) - INT8_SLACK)
    return ratio_db(floating, golden) - INT8_LOSS_DB


def _same_files(shipped: Package, again: Package) -> Gate:
    """Nothing in the package that the graph does not give: no cast, no byte, no file."""
    wrong = file_differences(shipped, again)
    return _listing("files are what the graph gives", wrong, "every byte equal")


def _listing(name: str, wrong: list[str], right: str) -> Gate:
    more = f" and {len(wrong) - SHOWN} more" if len(wrong) > SHOWN else ""
    detail = "; ".join(wrong[:SHOWN]) + more if wrong else right
    return Gate(name=name, passed=not wrong, detail=detail)


def _static(findings: tuple[Finding, ...]) -> Gate:
    """What needs no images: whether Core ML would load the program as declared."""
    errors = [f"{f.id} {f.message}" for f in findings if f.severity is Severity.ERROR]
    detail = "; ".join(errors[:SHOWN]) or ", ".join(f.id for f in findings) or "no findings"
    return Gate(name="static checks", passed=not errors, detail=detail)
