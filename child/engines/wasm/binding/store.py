"""A store: the instances of one run, their memory, their fuel, and the one call that is under way in it.

Calls run on a stack of their own (a fiber). When code calls a function of the host, or has used up its share
of fuel, the C API returns to Python; the fiber stays as it is, and `poll` goes on with it. So any number of
stores can be in the midst of a call, and no frame of Python ever stands on a stack that is not running.

Who owns what:

- A `Store` owns the C API's store, and with it everything in it: instances, functions, memories, tables. All
  of these are deleted with it, and by nothing else. `Instance`, `Function` and `Memory` only say where
  something is; each use of them goes through the store, which raises `Closed` once it is closed.
- A call owns its future. It is deleted when the call ends, in whatever way; only after that can the store be
  used otherwise, or closed. While a call is under way, another use raises `Closed`.
"""

import ctypes
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

from child.engines.wasm.binding.engine import (
    Caller,
    Engine,
    HostFunction,
    Linker,
    Module,
    Prepared,
    _Owner,
    _text,
)
from child.engines.wasm.binding.library import Closed, WasmtimeError
from child.engines.wasm.binding.memories import Account
from child.engines.wasm.binding.signatures import Number, Row, Signature, row

SHARE: Final = 100_000
"""Fuel that code may use before Python has its turn: some 0.1 ms of machine code, 1 ms of interpreted
code.
"""

MOST_FUEL: Final = 2**62

_Ends: Final = ctypes.c_void_p * 2

_KINDS: Final = ("function", "global", "table", "memory")

Answer = Callable[[HostFunction, list[Number]], Sequence[Number]]
"""Answers a call of a host function. It may return much later; what it raises ends the call."""


class Limits(NamedTuple):
    """What a store may have.

    Attributes:
        fuel: of all its calls together; more is the trap `all fuel consumed`.
        memory: bytes of all linear memories together; None is unlimited.
        table_elements: of one table.
        tables: how many tables.
        memories: how many linear memories.
        instances: how many instances.
    """

    fuel: int = MOST_FUEL
    memory: int | None = None
    table_elements: int = 100_000
    tables: int = 32
    memories: int = 128
    instances: int = 128


class Store(_Owner):
    """See the module.

    Args:
        engine: of the modules that will be instantiated.
        limits: see `Limits`.
        state: whatever callbacks want to find.

    Attributes:
        account: what its memories take.
        failure: what a callback raised, until the call ends.
    """

    _delete = "wasmtime_store_delete"

    def __init__(
        self,
        engine: Engine,
        limits: Limits = Limits(),  # noqa: B008 - frozen
        state: Any = None,
    ) -> None:
        library = engine.library
        super().__init__(library, library.wasmtime_store_new(engine.pointer, None, None))
        self.engine = engine
        self.state = state
        self.account = Account(limits.memory)
        self.failure: BaseException | None = None
        self._fuel = limits.fuel
        self._yields = False  # whether its calls give the CPU back
        self._is_busy = False
        self._request: tuple[HostFunction, list[Number]] | None = None
        self._results = 0  # where those of the request belong
        self._answer: bytes | None = None
        self._kept: list[Any] = []  # what instances are made of
        self._ends = _Ends()  # a trap, an error
        self._trap = ctypes.addressof(self._ends)
        self._error = self._trap + ctypes.sizeof(ctypes.c_void_p)
        self._context: int = library.wasmtime_store_context(self._pointer)
        library.check(library.wasmtime_context_set_fuel(self._context, limits.fuel))
        elements, instances, tables = limits.table_elements, limits.instances, limits.tables
        # Memories are counted in their account.
        library.wasmtime_store_limiter(self._pointer, -1, elements, instances, tables, limits.memories)

    @property
    def context(self) -> int:
        """What the C API wants to have for all that is in the store. Raises Closed."""
        if self._pointer is None:
            raise Closed("this store is closed")
        if self._is_busy:
            raise Closed("a call is under way in this store")
        return self._context

    @property
    def fuel(self) -> int:
        """How much fuel its calls have used."""
        left = ctypes.c_uint64()
        get = self.library.wasmtime_context_get_fuel
        self.library.check(get(self.context, ctypes.addressof(left)))
        return self._fuel - left.value

    def close(self) -> None:
        """Delete it, with all that is in it. Raises Closed while a call is under way."""
        if self._is_busy:
            raise Closed("a call is under way in this store")
        super().close()
        self._kept = []

    # Calls

    def instantiate(
        self,
        prepared: Prepared,
        answer: Answer | None = None,
        pause: Callable[[], object] | None = None,
        *,
        is_still: bool = False,
    ) -> "Instance":
        """A new instance; its start function is run.

        Args:
            prepared: of which module.
            answer: see `call`, which also says what is raised.
            pause: see `call`.
            is_still: whether it has no start function and imports no host function that suspends. Then, if
                nothing was called in this store before, it needs no stack of its own, which saves half the
                time.
        """
        place = self.library.types.wasmtime_instance_t()
        self._kept.append(prepared)
        if is_still and not self._yields:
            self._make_still(prepared, place)
            return Instance(self, place)
        start = self.library.wasmtime_instance_pre_instantiate_async
        self._yield()
        future = start(prepared.pointer, self.context, ctypes.addressof(place), self._trap, self._error)
        self._drive(future, answer, pause)
        return Instance(self, place)

    def link(
        self,
        linker: Linker,
        module: Module,
        answer: Answer | None = None,
        pause: Callable[[], object] | None = None,
    ) -> "Instance":
        """As `instantiate`, for a module that imports something of this store, by a linker of its own."""
        place = self.library.types.wasmtime_instance_t()
        start = self.library.wasmtime_linker_instantiate_async
        self._yield()
        self._kept += (linker, module)
        future = start(
            *(linker.pointer, self.context, module.pointer, ctypes.addressof(place)),
            *(self._trap, self._error),
        )
        self._drive(future, answer, pause)
        return Instance(self, place)

    def call(
        self,
        function: "Function",
        arguments: Sequence[Number] = (),
        answer: Answer | None = None,
        pause: Callable[[], object] | None = None,
    ) -> list[Number]:
        """Call a function to its end.

        Args:
            function: which one; only numbers go in and out.
            arguments: its parameters.
            answer: answers calls of host functions. Without it they trap.
            pause: is called whenever a share of fuel has been used; what it raises ends the call.

        Returns:
            Its results.

        Raises:
            Trap: the code trapped.
            WasmtimeError: it could not be called.
            BaseException: what `answer`, `pause` or a callback raised.
        """
        parameters, results = function.parameters, function.results
        values = parameters.pack(arguments)
        space = results.space()
        start = self.library.wasmtime_func_call_async
        self._yield()
        future = start(
            *(self.context, function.address, values, len(function.signature.parameters)),
            *(ctypes.addressof(space), len(function.signature.results), self._trap, self._error),
        )
        self._drive(future, answer, pause)
        return results.unpack(space) if results.size else []

    def _make_still(self, prepared: Prepared, place: Any) -> None:
        context, memories = self.context, self.engine.memories
        make = self.library.wasmtime_instance_pre_instantiate
        memories.account = self.account
        error = make(prepared.pointer, context, ctypes.addressof(place), self._trap)
        memories.account = None
        trap, self._ends[0] = self._ends[0], None
        if trap:
            raise self.library.trap(trap)
        self.library.check(error)

    def _yield(self) -> None:
        """Have code give the CPU back from now on, whenever it has used a share of fuel."""
        if not self._yields:
            self._yields = True
            self.library.check(self.library.wasmtime_context_fuel_async_yield_interval(self.context, SHARE))

    def _drive(self, future: int, answer: Answer | None, pause: Callable[[], object] | None) -> None:
        """Go on with a future until it ends; it is deleted then."""
        engine = self.engine
        poll = self.library.wasmtime_call_future_poll
        self._is_busy = True
        try:
            while True:
                engine.current = self
                engine.memories.account = self.account
                if poll(future):
                    break
                if self.failure is not None:
                    break
                if self._request is not None:
                    function, arguments = self._request
                    self._request = None
                    if answer is None:
                        raise WasmtimeError(f"nobody answers '{function.module}.{function.name}'")
                    self._answer = function.results.pack(answer(function, arguments))
                elif pause is not None:
                    pause()
        finally:
            engine.current = self  # what is left of the fiber is unwound, and may look at it
            engine.memories.account = self.account
            self.library.wasmtime_call_future_delete(future)
            engine.current = engine.memories.account = None
            self._is_busy = False
            self._request = self._answer = None
            failure, self.failure = self.failure, None
            trap, error = self._ends
            self._ends[0] = self._ends[1] = None
            ended = self.library.trap(trap) if trap else self.library.error(error) if error else None
        if failure is not None:
            raise failure
        if ended is not None:
            raise ended

    def request(self, function: HostFunction, arguments: list[Number], results: int) -> None:
        """The code calls a host function, and is suspended: what its callback tells."""
        self._request = (function, arguments)
        self._results = results
        self._answer = None

    def is_answered(self) -> bool:
        """Whether a suspended call has its answer, which is put in its place then: what its callback asks."""
        if self._answer is None:
            return False
        if self._answer:
            ctypes.memmove(self._results, self._answer, len(self._answer))
        self._answer = None
        return True


class Function(NamedTuple):
    """A function in a store. `place` keeps `address` valid."""

    signature: Signature
    parameters: Row
    results: Row
    place: Any
    address: int

    @classmethod
    def of(cls, place: Any, signature: Signature, engine: Engine) -> "Function":
        """The function at a place, of a type that is known to be its own."""
        parameters, results = (row(types, engine.layout) for types in signature)
        return cls(signature, parameters, results, place, ctypes.addressof(place.of))


class Instance:
    """An instance in a store.

    Args:
        store: which one.
        place: what the C API knows it by.
    """

    __slots__ = ("_place", "_store")

    def __init__(self, store: Store, place: Any) -> None:
        self._store = store
        self._place = place

    def find(self, name: str) -> tuple[str, Any] | None:
        """An export: what it is (`function`, `global`, `table`, `memory`), and its place; None without
        one.
        """
        store = self._store
        place = store.library.types.wasmtime_extern_t()
        find = store.library.wasmtime_instance_export_get
        where = ctypes.addressof(place)
        if not find(store.context, ctypes.addressof(self._place), *_text(name), where):
            return None
        return _KINDS[place.kind] if place.kind < len(_KINDS) else "other", place

    def define_in(self, linker: Linker, name: str) -> None:
        """Let modules import its exports from a module of that name. Raises WasmtimeError."""
        store = self._store
        define = store.library.wasmtime_linker_define_instance
        store.library.check(
            define(linker.pointer, store.context, *_text(name), ctypes.addressof(self._place))
        )


def define(store: Store, linker: Linker, module: str, name: str, place: Any) -> None:
    """Let modules import something of a store by this name. Raises WasmtimeError."""
    call = store.library.wasmtime_linker_define
    store.library.check(
        call(linker.pointer, store.context, *_text(module), *_text(name), ctypes.addressof(place))
    )


class Memory:
    """A linear memory in a store; every access is checked against its size.

    Args:
        store: which one.
        place: what the C API knows it by, as an export.
    """

    __slots__ = ("_address", "_place", "_store")

    def __init__(self, store: Store, place: Any) -> None:
        self._store = store
        self._place = place
        self._address = ctypes.addressof(place.of)

    @classmethod
    def of(cls, caller: Caller, name: str = "memory") -> "Memory | None":
        """What the module that calls exports by that name; None if that is no memory."""
        store: Store = caller.store
        place = store.library.types.wasmtime_extern_t()
        find = store.library.wasmtime_caller_export_get
        if not find(caller.pointer, *_text(name), ctypes.addressof(place)):
            return None
        return cls(store, place) if place.kind == _KINDS.index("memory") else None

    @classmethod
    def new(cls, store: Store, minimum: int, maximum: int | None) -> "Memory":
        """A new memory of so many pages (64 KiB each). Raises WasmtimeError."""
        library = store.library
        type_ = ctypes.c_void_p()
        library.check(
            library.wasmtime_memorytype_new(
                *(minimum, maximum is not None, maximum or 0, False, False, 16, ctypes.addressof(type_))
            )
        )
        place = library.types.wasmtime_extern_t()
        place.kind = _KINDS.index("memory")
        store.engine.memories.account = store.account
        try:
            make = library.wasmtime_memory_new
            library.check(make(store.context, type_.value, ctypes.addressof(place.of)))
        finally:
            store.engine.memories.account = None
            library.wasm_memorytype_delete(type_.value)
        return cls(store, place)

    @property
    def place(self) -> Any:
        """What the C API knows it by."""
        return self._place

    def _span(self, address: int, size: int) -> int:
        store = self._store
        # A callback of the very call that is under way may look at memory; nobody else may meanwhile.
        context = store._context if store.engine.current is store else store.context
        if (
            not 0
            <= address
            <= address + size
            <= store.library.wasmtime_memory_data_size(context, self._address)
        ):
            raise IndexError(f"{size} bytes at {address} are not within the memory")
        return int(store.library.wasmtime_memory_data(context, self._address) or 0) + address

    def read(self, address: int, size: int) -> bytes:
        """Bytes of it. Raises IndexError if they are not all within it."""
        start = self._span(address, size)
        return ctypes.string_at(start, size) if size else b""

    def write(self, address: int, data: bytes) -> None:
        """Put bytes into it. Raises IndexError if they are not all within it."""
        start = self._span(address, len(data))
        ctypes.memmove(start, data, len(data))
