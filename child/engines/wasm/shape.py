"""What the binary form of a module says about itself: its imports and exports with their types, and how much
of everything it has.

This is read before a module is compiled, and bounded: what nobody could compile within the limits of a
compiler is refused at once, with a sentence. Whether the module is valid, the library says; what is read
here of a valid one is right.

The format: https://webassembly.github.io/spec/core/binary/
"""

from typing import Final, NamedTuple

from child.engines.wasm.binding import Signature

MAGIC: Final = b"\0asm"
_VERSION: Final = b"\1\0\0\0"

_TYPES: Final = {
    0x7F: "I32",
    0x7E: "I64",
    0x7D: "F32",
    0x7C: "F64",
    0x7B: "V128",
    0x70: "FuncRef",
    0x6F: "ExternRef",
}
_LONGEST_NAME: Final = 1000  # bytes

LARGEST_BODY: Final = 1024 * 1024
"""Bytes that one function may have: what a compiler takes grows faster than they do."""

MOST_ELEMENTS: Final = 100_000
"""Elements that a table may have."""

MOST: Final = {
    "types": 50_000,
    "imports": 1_000,
    "functions": 100_000,
    "tables": 16,
    "memories": 16,
    "globals": 10_000,
    "exports": 10_000,
    "element segments": 10_000,
    "data segments": 10_000,
}
"""How many of each a module may have."""


class Malformed(Exception):
    """This is not a module, or has more of something than is allowed; the text says what."""


class Import(NamedTuple):
    """What a module wants to have.

    Attributes:
        module: from which module.
        name: by which name.
        kind: `function`, `table`, `memory`, `global` or `tag`.
        signature: of a function; None of anything else.
        limits: the least and the most that a memory, or a table, may have; the most is None without a bound.
    """

    module: str
    name: str
    kind: str
    signature: Signature | None = None
    limits: tuple[int, int | None] = (0, None)


class Export(NamedTuple):
    """What a module offers.

    Attributes:
        kind: as that of an import.
        signature: of a function; None of anything else.
        number: which one of its kind it is.
    """

    kind: str
    signature: Signature | None
    number: int


class Shape(NamedTuple):
    """A module, as its binary describes it.

    Attributes:
        imports: in their order.
        exports: by name.
        starts: whether it has a start function.
    """

    imports: tuple[Import, ...]
    exports: dict[str, Export]
    starts: bool


_KINDS: Final = ("function", "table", "memory", "global", "tag")


class _Reader:
    """Reads the fields of a module; whatever lies behind the end is `Malformed`."""

    __slots__ = ("_at", "_data", "_end")

    def __init__(self, data: bytes, at: int = 0, end: int | None = None) -> None:
        self._data = data
        self._at = at
        self._end = len(data) if end is None else end

    @property
    def is_at_end(self) -> bool:
        return self._at >= self._end

    def byte(self) -> int:
        if self._at >= self._end:
            raise Malformed("it ends too early")
        self._at += 1
        return self._data[self._at - 1]

    def number(self) -> int:
        """An unsigned LEB128 of no more than 64 bits."""
        value = shift = 0
        while True:
            byte = self.byte()
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7
            if shift > 63:
                raise Malformed("a number is too long")

    def take(self, size: int) -> "_Reader":
        """The next bytes, to be read by themselves."""
        if size > self._end - self._at:
            raise Malformed("it ends too early")
        self._at += size
        return _Reader(self._data, self._at - size, self._at)

    def name(self) -> str:
        size = self.number()
        if size > _LONGEST_NAME:
            raise Malformed(f"a name has {size} bytes, of at most {_LONGEST_NAME}")
        part = self.take(size)
        try:
            return self._data[part._at : part._end].decode()
        except UnicodeDecodeError:
            raise Malformed("a name is not UTF-8") from None

    def count(self, what: str) -> int:
        number = self.number()
        if number > MOST[what]:
            raise Malformed(f"it has {number} {what}, of at most {MOST[what]}")
        return number

    def type(self) -> str:
        code = self.byte()
        if code not in _TYPES:
            raise Malformed(f"a type is not known here: 0x{code:02x}")
        return _TYPES[code]

    def reference(self) -> None:
        """A type of references, as a table has it: long forms name a heap type."""
        code = self.byte()
        if code in (0x63, 0x64):
            self.number()

    def limits(self) -> tuple[int, int | None]:
        flags = self.byte()
        least = self.number()
        return least, self.number() if flags & 1 else None

    def skip_expression(self) -> None:
        """A constant expression, up to and with its end."""
        while (code := self.byte()) != 0x0B:
            if code in (0x41, 0x42, 0x23, 0xD2):  # numbers: i32, i64, a global, a function
                self.number()
            elif code == 0x43:
                self.take(4)
            elif code == 0x44:
                self.take(8)
            elif code == 0xD0:
                self.byte()
            elif code == 0xFD:
                if self.number() != 12:
                    raise Malformed("a constant is not known here")
                self.take(16)
            elif code not in (0x6A, 0x6B, 0x6C, 0x7C, 0x7D, 0x7E):  # what constants may be made of
                raise Malformed(f"a constant is not known here: 0x{code:02x}")


class _Module:
    """What has been read of a module so far."""

    def __init__(self) -> None:
        self.types: list[Signature] = []
        self.imports: list[Import] = []
        self.functions: list[int] = []  # the index of the type of each, those that are imported first
        self.counts = {"tables": 0, "memories": 0, "globals": 0}
        self.exports: dict[str, Export] = {}
        self.starts = False

    def signature(self, index: int) -> Signature:
        if index >= len(self.types):
            raise Malformed("a function has no type")
        return self.types[index]

    def add(self, what: str, number: int = 1) -> None:
        self.counts[what] += number
        if self.counts[what] > MOST[what]:
            raise Malformed(f"it has {self.counts[what]} {what}, of at most {MOST[what]}")

    # One method a section

    def read_types(self, reader: _Reader) -> None:
        for _ in range(reader.count("types")):
            if (form := reader.byte()) != 0x60:
                raise Malformed(f"a type is not known here: 0x{form:02x}")
            both = [tuple(reader.type() for _ in range(reader.number())) for _ in range(2)]
            self.types.append(Signature(*both))

    def read_imports(self, reader: _Reader) -> None:
        for _ in range(reader.count("imports")):
            module, name, code = reader.name(), reader.name(), reader.byte()
            kind = _KINDS[code] if code < len(_KINDS) else "other"
            signature: Signature | None = None
            limits: tuple[int, int | None] = (0, None)
            if kind == "function":
                self.functions.append(reader.number())
                signature = self.signature(self.functions[-1])
            elif kind == "table":
                reader.reference()
                self.add("tables")
                limits = _table(reader)
            elif kind == "memory":
                self.add("memories")
                limits = reader.limits()
            elif kind == "global":
                self.add("globals")
                reader.reference()
                reader.byte()
            else:
                raise Malformed(f"the import '{module}.{name}' is of a kind that is not known here")
            self.imports.append(Import(module, name, kind, signature, limits))

    def read_functions(self, reader: _Reader) -> None:
        self.functions += [reader.number() for _ in range(reader.count("functions"))]

    def read_tables(self, reader: _Reader) -> None:
        number = reader.count("tables")
        self.add("tables", number)
        for _ in range(number):
            code = reader.byte()
            if code == 0x40:  # with a value to begin with
                reader.byte()
                reader.reference()
                _table(reader)
                reader.skip_expression()
            else:
                if code in (0x63, 0x64):
                    reader.number()
                _table(reader)

    def read_memories(self, reader: _Reader) -> None:
        self.add("memories", reader.count("memories"))

    def read_globals(self, reader: _Reader) -> None:
        self.add("globals", reader.count("globals"))

    def read_exports(self, reader: _Reader) -> None:
        for _ in range(reader.count("exports")):
            name, code, index = reader.name(), reader.byte(), reader.number()
            kind = _KINDS[code] if code < len(_KINDS) else "other"
            signature = None
            if kind == "function":
                if index >= len(self.functions):
                    raise Malformed(f"the export '{name}' is a function that does not exist")
                signature = self.signature(self.functions[index])
            self.exports[name] = Export(kind, signature, index)

    def read_start(self, reader: _Reader) -> None:
        self.starts = True

    def read_elements(self, reader: _Reader) -> None:
        reader.count("element segments")

    def read_code(self, reader: _Reader) -> None:
        for number in range(reader.number()):
            size = reader.number()
            if size > LARGEST_BODY:
                index = len(self.imports) and sum(each.kind == "function" for each in self.imports)
                raise Malformed(f"function {index + number} has {size} bytes, of at most {LARGEST_BODY}")
            reader.take(size)

    def read_data(self, reader: _Reader) -> None:
        reader.count("data segments")


def _table(reader: _Reader) -> tuple[int, int | None]:
    limits = reader.limits()
    if limits[0] > MOST_ELEMENTS:
        raise Malformed(f"a table has {limits[0]} elements, of at most {MOST_ELEMENTS}")
    return limits


_SECTIONS: Final = {
    1: _Module.read_types,
    2: _Module.read_imports,
    3: _Module.read_functions,
    4: _Module.read_tables,
    5: _Module.read_memories,
    6: _Module.read_globals,
    7: _Module.read_exports,
    8: _Module.read_start,
    9: _Module.read_elements,
    10: _Module.read_code,
    11: _Module.read_data,
}


def read(binary: bytes) -> Shape:
    """The shape of a module. Raises Malformed."""
    if binary[:4] != MAGIC:
        raise Malformed("it does not begin as a module does (00 61 73 6d)")
    if binary[4:8] != _VERSION:
        raise Malformed("it is of a version, or a kind, that is not known here")
    reader = _Reader(binary, 8)
    module = _Module()
    while not reader.is_at_end:
        section, size = reader.byte(), reader.number()
        body = reader.take(size)
        if section in _SECTIONS:
            _SECTIONS[section](module, body)
    return Shape(tuple(module.imports), module.exports, module.starts)
