"""A flatbuffer read by field number, independent of the code that wrote it."""

from __future__ import annotations

import struct

import numpy as np


class Table:
    """One table of a flatbuffer; fields are numbered as its schema lists them."""

    def __init__(self, data: bytes, position: int) -> None:
        self.data, self.position = data, position

    @classmethod
    def root(cls, data: bytes) -> Table:
        return cls(data, struct.unpack_from("<I", data)[0])

    def field(self, number: int, kind: str) -> int | float:
        (back,) = struct.unpack_from("<i", self.data, self.position)
        directory = self.position - back
        (offset,) = struct.unpack_from("<H", self.data, directory + 4 + 2 * number)
        return struct.unpack_from(f"<{kind}", self.data, self.position + offset)[0]

    def target(self, number: int) -> int:
        (back,) = struct.unpack_from("<i", self.data, self.position)
        (offset,) = struct.unpack_from("<H", self.data, self.position - back + 4 + 2 * number)
        where = self.position + offset
        return where + struct.unpack_from("<I", self.data, where)[0]

    def table(self, number: int) -> Table:
        return Table(self.data, self.target(number))

    def first(self, number: int) -> Table:
        return self.tables(number)[0]

    def tables(self, number: int) -> list[Table]:
        where = self.target(number)
        (count,) = struct.unpack_from("<I", self.data, where)
        places = range(where + 4, where + 4 + 4 * count, 4)
        return [Table(self.data, p + struct.unpack_from("<I", self.data, p)[0]) for p in places]

    def has(self, number: int) -> bool:
        (back,) = struct.unpack_from("<i", self.data, self.position)
        directory = self.position - back
        (size,) = struct.unpack_from("<H", self.data, directory)
        entry = 4 + 2 * number
        return entry < size and struct.unpack_from("<H", self.data, directory + entry) != (0,)

    def floats(self, number: int) -> np.ndarray:
        where = self.target(number)
        (count,) = struct.unpack_from("<I", self.data, where)
        return np.frombuffer(self.data, "<f4", count, where + 4)

    def text(self, number: int) -> str:
        return self.bytes(number).decode()

    def bytes(self, number: int) -> bytes:
        where = self.target(number)
        (count,) = struct.unpack_from("<I", self.data, where)
        return self.data[where + 4 : where + 4 + count]
