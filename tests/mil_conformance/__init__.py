"""coremltools' own operation tests, which its wheel ships, as a test of the reference evaluator.

- `shipped`: runs them in a process of their own and reads the record that a plugin leaves
- `folding`: a pytest plugin; every constant that coremltools folds is computed again by our rules
- `prediction`: a pytest plugin; the evaluator answers in place of Core ML

`.venv/bin/python tests/mil_conformance` runs all of them through `prediction` (almost 20,000
cases, over an hour on one core); `--every 10` takes one of ten, and other arguments go to pytest.
"""
