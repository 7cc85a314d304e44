"""The apps that `make_apps.sh` made, and a parser of Swift."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import tree_sitter
import tree_sitter_swift

SAMPLE = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def apps() -> list[Path]:
    """One folder per build."""
    found = sorted(Path(os.environ["MNV2_IOS_APPS"]).iterdir())
    assert len(found) == 5
    return found


@pytest.fixture(scope="session")
def parse() -> tree_sitter.Parser:
    """Of Swift."""
    return tree_sitter.Parser(tree_sitter.Language(tree_sitter_swift.language()))


def flaws(node: tree_sitter.Node) -> Iterator[str]:
    """Where a source is not Swift, by line."""
    if node.type == "ERROR" or node.is_missing:
        yield f"line {node.start_point[0] + 1}: {(node.text or b'').decode()[:60]!r}"
    for child in node.children:
        yield from flaws(child)
