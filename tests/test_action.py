"""The GitHub Action: its schema, its pins and rights, and every script of it run here.

Nothing reaches GitHub: `gh` and `pip` are stand-ins that write down how they were called, and in
the default tests `mnv2-export` is one too, so that any exit code can be tried.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[1]
ACTION = ROOT / ".github/actions/mnv2-export/action.yml"
WORKFLOW = ROOT / ".github/workflows/model.yml"
EXPRESSION = re.compile(r"\$\{\{\s*(.*?)\s*\}\}")
STEPS: list[dict[str, Any]] = yaml.safe_load(ACTION.read_text())["runs"]["steps"]
INPUTS: dict[str, Any] = yaml.safe_load(ACTION.read_text())["inputs"]


def test_the_schemas_that_github_publishes() -> None:
    for kind, path in (("github-actions", ACTION), ("github-workflows", WORKFLOW)):
        schema = ["--builtin-schema", f"vendor.{kind}", str(path)]
        command = [sys.executable, "-m", "check_jsonschema", *schema]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


def test_no_expression_is_pasted_into_a_script() -> None:
    """A branch's or a file's name would run as code."""
    for step in STEPS:
        assert "${{" not in step.get("run", ""), step["name"]


def test_every_variable_of_a_script_is_given_to_it() -> None:
    known = {"GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY", "GITHUB_REPOSITORY", "GITHUB_SERVER_URL",
             "GITHUB_RUN_ID"}  # fmt: skip
    for step in STEPS:
        used = set(re.findall(r"\$\{?([A-Z][A-Z_]+)", step.get("run", "")))
        assert used <= set(step.get("env", {})) | known, step.get("name")
        assert step.get("shell", "bash") == "bash"


def test_every_input_is_used_and_every_used_one_is_there() -> None:
    used = set(re.findall(r"inputs\.([a-z-]+)", ACTION.read_text()))
    assert used == set(INPUTS)
    workflow = yaml.safe_load(WORKFLOW.read_text())
    (job,) = workflow["jobs"].values()
    given = job["steps"][-1]["with"]
    assert set(given) <= set(INPUTS)


def test_rights_are_the_least_and_actions_are_pinned() -> None:
    workflow = yaml.safe_load(WORKFLOW.read_text())
    assert workflow["permissions"] == {"contents": "read"}
    (job,) = workflow["jobs"].values()
    assert job["permissions"] == {"contents": "read", "pull-requests": "write"}
    assert "pull_request_target" not in WORKFLOW.read_text()  # a fork's code with our rights
    for step in (*job["steps"], *STEPS):
        if "uses" in step and not step["uses"].startswith("./"):
            assert re.fullmatch(r"actions/[a-z-]+@v\d+", step["uses"])
        if step.get("uses", "").startswith("actions/checkout"):
            assert step["with"]["persist-credentials"] is False


def test_the_budget_beside_the_workflow_is_one() -> None:
    from exporter.comparison.budget import read_budget

    assert not read_budget(ROOT / ".github/budget.toml").strict
    assert yaml.safe_load(WORKFLOW.read_text())["jobs"]["model"]["steps"][-1]["with"][
        "budget"
    ] == ".github/budget.toml"  # fmt: skip


GH = """
import json, os, sys
from pathlib import Path
# Stands in for GitHub's `gh api`: one page of comments, and a log of what was written.
here, arguments = Path(os.environ["STAND_IN"]), sys.argv[1:]
comments = json.loads((here / "comments.json").read_text())
if "--jq" in arguments:
    for one in comments:
        if one["user"]["type"] == "Bot" and one["body"].startswith(os.environ["MARKER"]):
            print(one["id"])
else:
    body = Path(arguments[-1].removeprefix("body=@")).read_text()
    said = {"method": arguments[arguments.index("--method") + 1], "to": arguments[3], "body": body}
    (here / "written.json").write_text(json.dumps(said))
"""
EXPORTER = """
import json, os, sys
from pathlib import Path
# Stands in for `mnv2-export`: $CODES says what each command exits with.
here, arguments = Path(os.environ["STAND_IN"]), sys.argv[1:]
with (here / "calls.jsonl").open("a") as log:
    log.write(json.dumps([str(Path.cwd()), *arguments]) + "\\n")
codes = json.loads(os.environ.get("CODES", "{}"))
place = arguments[arguments.index("--out") + 1] if "--out" in arguments else ""
code = codes.get(f"{arguments[0]} {Path(place).name}".strip(), codes.get(arguments[0], 0))
if code <= 1:
    if arguments[0] == "build":
        Path(place).mkdir()
    elif arguments[0] == "report":
        Path(place).write_text("the report")
    elif arguments[0] == "compare":
        text = "### the comparison\\n" + "x" * int(os.environ.get("LONG", 0))
        Path(arguments[arguments.index("--markdown") + 1]).write_text(text)
        print("{}")
sys.exit(code)
"""
LOG = """
import json, os, sys
from pathlib import Path
with (Path(os.environ["STAND_IN"]) / "others.jsonl").open("a") as log:
    log.write(json.dumps(sys.argv) + "\\n")
if sys.argv[1:3] == ["-P", "-c"]:
    exec(sys.argv[3])
"""


@dataclass
class Job:
    """The action's steps, one after the other, as a runner takes them."""

    root: Path
    event: str = "pull_request"
    fork: bool = False
    inputs: dict[str, str] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)
    outputs: dict[str, dict[str, str]] = field(default_factory=dict)
    ran: list[str] = field(default_factory=list)
    failed: str = ""  # the step
    said: str = ""

    @property
    def folder(self) -> Path:
        return Path(self.outputs["start"]["folder"])

    @property
    def summary(self) -> str:
        return (self.root / "summary").read_text()

    def calls(self) -> list[list[str]]:
        """Of the exporter: where, and with what."""
        lines = (self.root / "calls.jsonl").read_text().splitlines()
        return [json.loads(line) for line in lines]

    def value(self, expression: str) -> str:
        """The few expressions that the action has."""
        head = "someone/fork" if self.fork else "owner/repo"
        known = {
            "runner.temp": str(self.root / "temp"),
            "github.action_path": str(ACTION.parent),
            "github.token": "token",
            "github.event_name": self.event,
            "github.repository": "owner/repo",
            "github.event.pull_request.head.repo.full_name": head,
            "github.event.pull_request.number": "7",
        }
        if expression.startswith("inputs."):
            name = expression.removeprefix("inputs.")
            return self.inputs.get(name, self.filled(str(INPUTS[name].get("default", ""))))
        if expression.startswith("steps."):
            _, step, _, name = expression.split(".")
            return self.outputs[step].get(name, "")
        return known[expression]

    def filled(self, text: str) -> str:
        return EXPRESSION.sub(lambda match: self.value(match[1]), text)

    def wanted(self, step: Mapping[str, Any]) -> bool:
        """`a == 'b' && c != d`, which is all that the action asks."""
        for part in str(step.get("if", "")).split("&&"):
            if not part.strip():
                continue
            left, sign, right = part.split()
            sides = [x.strip("'") if x.startswith("'") else self.value(x) for x in (left, right)]
            if (sides[0] == sides[1]) != (sign == "=="):
                return False
        return True

    def run(self) -> None:
        for step in STEPS:
            if "run" in step and not self.failed and self.wanted(step):
                self.step(step)

    def step(self, step: Mapping[str, Any]) -> None:
        place = self.root / "output"
        place.write_text("")
        environment = {
            **os.environ,
            **self.environment,
            **{name: self.filled(value) for name, value in step.get("env", {}).items()},
            "PATH": f"{self.root / 'bin'}{os.pathsep}{os.environ['PATH']}",
            "STAND_IN": str(self.root),
            "GITHUB_OUTPUT": str(place),
            "GITHUB_STEP_SUMMARY": str(self.root / "summary"),
            "GITHUB_REPOSITORY": "owner/repo",
            "GITHUB_SERVER_URL": "https://github.com",
            "GITHUB_RUN_ID": "99",
        }
        done = subprocess.run(
            ["bash", "--noprofile", "--norc", "-e", "-o", "pipefail", "-c", step["run"]],
            cwd=self.filled(step.get("working-directory", str(self.root))),
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        self.ran.append(step["name"])
        self.said += done.stdout + done.stderr
        lines = dict(line.split("=", 1) for line in place.read_text().splitlines())
        self.outputs[step.get("id", step["name"])] = lines
        if done.returncode:
            self.failed = step["name"]


@pytest.fixture
def job(tmp_path: Path) -> Job:
    (tmp_path / "bin").mkdir()
    for name in ("temp", "head", "base"):
        (tmp_path / name).mkdir()
    (tmp_path / "comments.json").write_text("[]")
    stand_ins = {"gh": GH, "mnv2-export": EXPORTER, "python": LOG}
    for name, text in stand_ins.items():
        path = tmp_path / "bin" / name
        path.write_text(f"#!{sys.executable} -SE\n{text}")
        path.chmod(0o755)
    return Job(
        root=tmp_path,
        inputs={
            "directory": str(tmp_path / "head"),
            "base-directory": str(tmp_path / "base"),
            "budget": "budget.toml",
            "arguments": "model.pth --labels 'my labels.txt' -p int8",
        },
    )


def written(job: Job) -> dict[str, str]:
    said: dict[str, str] = json.loads((job.root / "written.json").read_text())
    return said


def test_a_pull_request_within_its_budget(job: Job) -> None:
    job.run()
    assert job.failed == "", job.said
    assert job.ran == [step["name"] for step in STEPS if "run" in step]
    new, base = str(job.folder / "new"), str(job.folder / "base")
    words = ["model.pth", "--labels", "my labels.txt", "-p", "int8", "--out"]
    calls = job.calls()
    assert calls[1] == [str(job.root / "head"), "build", *words, new]
    assert calls[2][1:] == ["verify", new, "--quiet"]
    assert calls[6] == [str(job.root / "base"), "build", *words, base]
    assert calls[7][1:4] == ["compare", base, new]
    assert calls[7][-2:] == ["--budget", "budget.toml"]
    assert job.outputs["compare"] == {"within-budget": "true"}
    assert job.summary == "### the comparison\n\nthe report"
    said = written(job)
    assert (said["method"], said["to"]) == ("POST", "repos/owner/repo/issues/7/comments")
    assert said["body"].startswith("<!-- mnv2-export: model -->\n### the comparison")
    assert "https://github.com/owner/repo/actions/runs/99" in said["body"]


def test_over_budget_is_told_before_the_job_fails(job: Job) -> None:
    job.environment["CODES"] = '{"compare": 1}'
    job.run()
    assert job.failed == "Judge"
    assert "::error::the model is over its budget" in job.said
    assert "the comparison" in job.summary
    assert "the comparison" in written(job)["body"]


@pytest.mark.parametrize(
    ("codes", "step"),
    [
        ({"build new": 8}, "Build"),
        ({"verify": 8}, "Build"),
        ({"report": 9}, "Profile and report"),
        ({"compare": 2}, "Compare"),
        ({"compare": 9}, "Compare"),
    ],
)
def test_what_fails_stops_the_job(job: Job, codes: dict[str, int], step: str) -> None:
    job.environment["CODES"] = json.dumps(codes)
    job.run()
    assert job.failed == step
    assert not (job.root / "written.json").exists()


def test_a_base_that_does_not_build_is_a_warning(job: Job) -> None:
    job.environment["CODES"] = '{"build base": 3}'
    job.run()
    assert job.failed == ""
    assert "::warning::the base does not build" in job.said
    assert job.calls()[-1][1:4] == ["compare", str(job.folder / "new"), "--iterations"]


def test_latencies_may_be_missing(job: Job) -> None:
    job.environment["CODES"] = '{"profile": 5}'
    job.run()
    assert job.failed == ""
    assert "::warning::latency was not measured" in job.said


def test_an_earlier_comment_is_written_anew(job: Job) -> None:
    marker = "<!-- mnv2-export: model -->"
    comments = [
        {"id": 1, "user": {"type": "Bot"}, "body": "<!-- mnv2-export: other -->"},
        {"id": 2, "user": {"type": "User"}, "body": f"{marker} a person's"},
        {"id": 3, "user": {"type": "Bot"}, "body": f"{marker} ours"},
    ]
    (job.root / "comments.json").write_text(json.dumps(comments))
    job.run()
    said = written(job)
    assert (said["method"], said["to"]) == ("PATCH", "repos/owner/repo/issues/comments/3")


def test_a_long_comment_is_cut(job: Job) -> None:
    job.environment["LONG"] = "100000"
    job.run()
    assert job.failed == ""
    body = written(job)["body"]
    assert 60_000 < len(body) < 65_536
    # What was folded when it was cut must not fold the link away.
    assert body[-200:].index("</details>") < body[-200:].index("[Artifacts and the whole report]")
    assert len(job.summary) > 100_000


@pytest.mark.parametrize("change", ["fork", "push", "comment"])
def test_where_there_is_no_comment(job: Job, change: str) -> None:
    job.fork = change == "fork"
    job.event = "push" if change == "push" else "pull_request"
    job.inputs["comment"] = str(change != "comment").lower()
    job.run()
    assert job.failed == ""
    assert "Comment" not in job.ran
    assert "the comparison" in job.summary


def test_without_arguments_and_base(job: Job) -> None:
    job.inputs = {"directory": str(job.root / "head")}
    job.run()
    assert job.failed == "", job.said
    assert job.calls()[1][1:] == ["build", "--out", str(job.folder / "new")]
    assert "--budget" not in job.calls()[-1]


@pytest.mark.parametrize(
    "name", ["", "..", "a/b", 'x"; touch pwned; "', "$(touch pwned)", "a\nb=c"]
)
def test_a_name_is_a_word(job: Job, name: str) -> None:
    job.inputs["name"] = name
    job.run()
    assert job.failed == "Start"
    assert list(job.root.rglob("pwned")) == []


def test_inputs_are_never_run(job: Job) -> None:
    attack = '"; touch pwned; " $(touch pwned) `touch pwned`'
    job.inputs |= {"arguments": f"'{attack}'", "budget": attack, "iterations": attack,
                   "threads": attack, "data": attack, "package": attack}  # fmt: skip
    job.run()
    assert job.failed == ""
    assert attack in job.calls()[1]
    assert list(job.root.rglob("pwned")) == []


def test_pip_installs_this_exporter(job: Job) -> None:
    job.run()
    lines = [json.loads(x) for x in (job.root / "others.jsonl").read_text().splitlines()]
    (command,) = [line for line in lines if line[1:4] == ["-P", "-m", "pip"]]
    place, _, extras = command[-1].partition("[")
    assert Path(place).resolve() == ROOT
    assert extras == "litert,report]"


@pytest.mark.slow
def test_the_commands_themselves(job: Job) -> None:
    """The embedded demo against itself; only `pip` and `gh` stand in."""
    (job.root / "bin" / "mnv2-export").write_text(
        f'#!/usr/bin/env bash\nexec {sys.executable} -m exporter "$@"\n'
    )
    job.inputs |= {"arguments": "-t android -t onnx -p int8", "iterations": "20"}
    (job.root / "head" / "budget.toml").write_text("[defaults]\nmax_bytes = 1000\n")
    job.run()
    assert job.failed == "Judge", job.said
    assert "model-int8.pte" in job.summary
    assert "over budget" in written(job)["body"]
    found = json.loads((job.folder / "compare.json").read_text())
    assert {row["artifact"] for row in found["comparison"]["artifacts"]} == {
        "model-int8.pte",
        "model-int8.onnx",
    }
