"""A directory as bytes, the way ExecuTorch's Core ML delegate carries its model.

The contents of the files one after another, then a tree of their names and places as JSON written
backwards: a reader starts at the end, behind zeros that may pad it. The nodes of the tree stand
children first, so the last one is the directory itself.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

FILE, DIRECTORY = 0, 1
LARGEST_TREE = 1 << 16  # bytes; that of a package has about 1,000
NAME = re.compile(r"(?!\.{1,2}$)[A-Za-z0-9._-]{1,100}")

Files = Mapping[str, bytes]  # by paths with "/" inside the directory


def flatten(name: str, files: Files) -> bytes:
    """Equal files give equal bytes, whatever their order."""
    content, nodes = bytearray(), list[dict[str, Any]]()
    _append(name, files, content, nodes)
    tree = json.dumps({"nodes": nodes}, sort_keys=True, separators=(",", ":"))
    return bytes(content) + tree.encode("ascii")[::-1]


def unflatten(data: bytes) -> dict[str, bytes]:
    """The files; raises ValueError for anything but a plain tree of them that fits into `data`."""
    nodes, end = _tree(data)
    files, left = {}, end
    for path, node in _walk(nodes):
        start, size = (_integer(node["dataRegion"][key]) for key in ("offset", "size"))
        left -= size
        if left < 0 or start + size > end:
            raise ValueError("the files of the embedded directory are larger than it")
        files[path] = data[start : start + size]
    return files


def _append(name: str, files: Files, content: bytearray, nodes: list[dict[str, Any]]) -> int:
    """Add a file (whose one path is empty) or a directory; returns its place in `nodes`."""
    offset, size, children = 0, 0, {}
    if "" in files:
        offset, size = len(content), len(files[""])
        content += files[""]
    else:
        inside: dict[str, dict[str, bytes]] = {}
        for path in sorted(files):
            child, _, rest = path.partition("/")
            inside.setdefault(child, {})[rest] = files[path]
        children = {child: _append(child, inside[child], content, nodes) for child in inside}
    nodes.append(
        {
            "name": name,
            "kind": FILE if "" in files else DIRECTORY,
            "children": children,
            "dataRegion": {"offset": offset, "size": size},
        }
    )
    return len(nodes) - 1


def _tree(data: bytes) -> tuple[list[Any], int]:
    """The nodes, and the number of bytes before them."""
    written = data.rstrip(b"\0")
    backwards = written[: -LARGEST_TREE - 1 : -1].decode("latin-1")
    try:
        tree, length = json.JSONDecoder().raw_decode(backwards)
        nodes = tree["nodes"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise ValueError("no tree of files at the end of the embedded directory") from None
    if not isinstance(nodes, list) or not nodes:
        raise ValueError("the tree of the embedded directory is empty")
    return nodes, len(written) - length


def _walk(nodes: list[Any]) -> Iterator[tuple[str, Any]]:
    """Paths and nodes of the files; every node is reached once, from one that comes after it."""
    left, unseen = [("", len(nodes) - 1)], set(range(len(nodes) - 1))
    while left:
        path, index = left.pop()
        node = nodes[index]
        if node["kind"] == FILE:
            yield path, node
            continue
        for name, child in node["children"].items():
            if _integer(child) >= index or child not in unseen:
                raise ValueError("the tree of the embedded directory is no tree")
            unseen.remove(child)
            if not NAME.fullmatch(name) or nodes[child]["name"] != name:
                raise ValueError(f"the embedded directory has a file named {name!r}")
            left.append((f"{path}/{name}" if path else name, child))


def _integer(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise ValueError(f"the tree of the embedded directory holds {value!r} for a number")
    return value
