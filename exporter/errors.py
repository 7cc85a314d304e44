"""Everything that can go wrong for a user, one class per failure.

Each class has its own exit code (the table in the README is tested against this file). A message
says what is wrong and where; `hint` says what to do next. `session.py` makes an exit of them.
"""


class ExportError(Exception):
    """A failure that the user can act on: one line of what is wrong, one line of what to do."""

    exit_code = 1
    meaning = "unexpected: a bug, please report it; of `compare`: over its budget"

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class CheckpointError(ExportError):
    """The checkpoint cannot be read, is not a MobileNetV2, or holds bad tensors."""

    exit_code = 3
    meaning = "the checkpoint cannot be used"


class DataError(ExportError):
    """Images or labels are missing, unreadable or do not fit the model."""

    exit_code = 4
    meaning = "images or labels cannot be used"


class UnsupportedError(ExportError):
    """A combination that a target, a precision or this machine does not offer."""

    exit_code = 5
    meaning = "a combination that is not offered"


class MissingDependencyError(ExportError):
    """An optional package that the request needs is not installed."""

    exit_code = 6
    meaning = "a needed package is not installed"


class TargetError(ExportError):
    """At least one target failed to write its artifact; the others were still built."""

    exit_code = 7
    meaning = "a target wrote nothing; the others were built"


class ParityError(ExportError):
    """An artifact on disk does not compute what the reference computes."""

    exit_code = 8
    meaning = "parity failed: an artifact is not the same model"


class ArtifactError(ExportError):
    """An artifact or a build directory is missing, damaged or not what its manifest says."""

    exit_code = 9
    meaning = "an artifact or build directory is missing or damaged"


class GraphError(ExportError):
    """A QuantizedGraph breaks one of its own rules; this is a bug or a damaged file."""

    exit_code = 10
    meaning = "a graph breaks its own rules"


class TrainingError(ExportError):
    """A training run diverged, or its folder takes no more; the last good checkpoint is kept."""

    exit_code = 11
    meaning = "training stopped; the last good checkpoint is kept"


class DeviceError(ExportError):
    """A device cannot be used: it is not there, refuses, or went away in the middle."""

    exit_code = 12
    meaning = "a device cannot be used"


class BudgetError(ExportError):
    """A comparison is over its budget: exit code 1, as of a test that fails."""


ALL_ERRORS: tuple[type[ExportError], ...] = (
    ExportError,
    CheckpointError,
    DataError,
    UnsupportedError,
    MissingDependencyError,
    TargetError,
    ParityError,
    ArtifactError,
    GraphError,
    TrainingError,
    DeviceError,
)
