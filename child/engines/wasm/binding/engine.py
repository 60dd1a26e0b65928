"""wasmtime's engine, modules and linkers: what outlives a run.

Who owns what:

- An `Engine`, a `Module`, a `Linker` and a `Prepared` each own one object of the C API, and delete it once:
  in `close`, or when Python forgets them.
- Each holds those that it is made of, so nothing is deleted that something else still needs. wasmtime counts
  references itself; ours keep the Python side (names, callbacks) alive as well.
- A callback is found by a number, not by its address. A number that means nothing any more traps; so not
  even a mistake here leads into freed memory.

Every callback that C calls is made when the engine is made: a process that has been confined cannot make one.
"""

import ctypes
import itertools
from collections.abc import Callable
from typing import Any, Final, NamedTuple, Self

from child.engines.wasm.binding.library import Closed, Library, Unusable
from child.engines.wasm.binding.memories import Form, Memories, Stacks, address_of, callback
from child.engines.wasm.binding.signatures import Layout, Row, Signature, row

STACK: Final = 256 * 1024
"""Bytes of stack that WebAssembly code may use in one activation."""

FIBER: Final = 512 * 1024
"""Bytes of stack that an activation has: its own, and what callbacks in Python need on it."""

INTERPRETED: Final = "pulley64"


class Options(NamedTuple):
    """How an engine compiles and runs.

    Attributes:
        is_interpreted: whether modules become Pulley's bytecode, and never machine code.
        is_quick: whether they are compiled fast rather than well: for large ones. Artifacts of the two fit
        both.
    """

    is_interpreted: bool = False
    is_quick: bool = False


class _Owner:
    """Owns one object of the C API."""

    _delete: str

    def __init__(self, library: Library, pointer: int) -> None:
        self.library = library
        self._pointer: int | None = pointer

    @property
    def pointer(self) -> int:
        """The object. Raises Closed."""
        if self._pointer is None:
            raise Closed(f"this {type(self).__name__.lower()} is closed")
        return self._pointer

    def close(self) -> None:
        """Delete the object; done twice, it does nothing the second time."""
        pointer, self._pointer = self._pointer, None
        if pointer is not None:
            getattr(self.library, self._delete)(pointer)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        if getattr(self, "_pointer", None) is not None:
            self.close()


class Caller(NamedTuple):
    """Who calls a function of the host. Good for as long as the call, and no longer.

    Attributes:
        store: whose code it is.
        pointer: the C API's name for it.
    """

    store: Any
    pointer: int


Body = Callable[[Caller, Any], None]
"""`body(caller, values)`: a function of the host that answers at once; see `Linker.define`."""


class HostFunction(NamedTuple):
    """A function of the host whose calls suspend the code that made them.

    Attributes:
        module: the import's module.
        name: the import's name.
        signature: its type.
        parameters: how its arguments stand in memory.
        results: how its results do.
    """

    module: str
    name: str
    signature: Signature
    parameters: Row
    results: Row


class Engine(_Owner):
    """Compiles modules, and runs them. Settings that are not options are decided here, for good.

    Args:
        library: what `child.engines.wasm.binding.library.load` returns.
        options: see `Options`.

    Attributes:
        memories: the linear memories of its stores.
        stacks: the stacks of their calls.
        current: the store whose code runs right now; None between polls. For callbacks.
    """

    _delete = "wasm_engine_delete"

    def __init__(self, library: Library, options: Options = Options()) -> None:  # noqa: B008 - frozen
        self.options = options
        self.layout = Layout.of(library)
        self.memories = Memories(library)
        self.stacks = Stacks(library)
        self.current: Any = None
        self.functions: dict[int, HostFunction | Body] = {}
        self.numbers = itertools.count(1)
        types = library.types
        self._call = callback(types.wasmtime_func_unchecked_callback_t, self._on_call)
        self._suspend = callback(types.wasmtime_func_async_callback_t, self._on_suspend)
        self._poll = callback(types.wasmtime_func_async_continuation_callback_t, self._on_poll)
        self._then = Form(types.wasmtime_async_continuation_t, "callback", "env", "finalizer")
        self._poll_address = address_of(self._poll)
        self.call_address = address_of(self._call)
        self.suspend_address = address_of(self._suspend)
        config = _config(library, options, self.memories, self.stacks)
        super().__init__(library, library.wasm_engine_new_with_config(config))

    def close(self) -> None:
        """Delete it; what is made of it stays usable."""
        super().close()
        self.stacks.release()

    # What C calls. Nothing may leave these but a trap; the exception is kept with the store.

    def _trap(self, error: BaseException | None = None) -> int:
        if self.current is not None and error is not None:
            self.current.failure = error
        return self.library.wasmtime_trap_new(b"host", 4)  # type: ignore[no-any-return]

    def _on_call(self, env: int, caller: int, values: int, length: int) -> int:
        try:
            body: Any = self.functions[env]
            body(Caller(self.current, caller), ctypes.cast(values, _INT64S))
        except BaseException as error:  # noqa: BLE001 - raised again by whoever drives the store
            return self._trap(error)
        return 0

    def _on_suspend(
        self,
        env: int,
        caller: int,
        arguments: int,
        count: int,
        results: int,
        result_count: int,
        trap: int,
        continuation: int,
    ) -> None:
        try:
            self._then.write(continuation, self._poll_address, 0, 0)
            function: Any = self.functions[env]
            values = ctypes.string_at(arguments, function.parameters.size) if count else b""
            self.current.request(function, function.parameters.unpack(values), results)
        except BaseException as error:  # noqa: BLE001 - raised again by whoever drives the store
            ctypes.c_void_p.from_address(trap).value = self._trap(error)

    def _on_poll(self, env: int | None) -> bool:
        try:
            return self.current.is_answered()  # type: ignore[no-any-return]
        except BaseException as error:  # noqa: BLE001 - raised again by whoever drives the store
            self.current.failure = error
            return False

    # What it makes

    def compile(self, binary: bytes) -> "Module":
        """A module of its binary form. Raises WasmtimeError if it is not valid."""
        module = ctypes.c_void_p()
        new = self.library.wasmtime_module_new
        self.library.check(new(self.pointer, binary, len(binary), ctypes.addressof(module)))
        return Module(self, module.value or 0)

    def validate(self, binary: bytes) -> None:
        """Say whether this is a valid module, without compiling it. Raises WasmtimeError if not."""
        self.library.check(self.library.wasmtime_module_validate(self.pointer, binary, len(binary)))

    def load(self, artifact: bytes) -> "Module":
        """A module of what `Module.serialize` returned, here or in another process of the very same library.

        Only what this machine made itself may go in: wasmtime looks at its header, not at the code.

        Raises:
            WasmtimeError: it is of another version, or of another kind of engine.
        """
        module = ctypes.c_void_p()
        new = self.library.wasmtime_module_deserialize
        self.library.check(new(self.pointer, artifact, len(artifact), ctypes.addressof(module)))
        return Module(self, module.value or 0)


_INT64S: Final = ctypes.POINTER(ctypes.c_int64)


def binary_of(library: Library, text: bytes) -> bytes:
    """The binary form of a module in WebAssembly's text format. Raises WasmtimeError, with the place."""
    vector = library.types.wasm_byte_vec_t()
    library.check(library.wasmtime_wat2wasm(text, len(text), ctypes.addressof(vector)))
    return library.take_bytes(vector)


def _config(library: Library, options: Options, memories: Memories, stacks: Stacks) -> int:
    """The settings of an engine; `wasm_engine_new_with_config` takes them over."""
    config: int = library.wasm_config_new()

    def setting(name: str, value: int) -> None:
        getattr(library, f"wasmtime_config_{name}_set")(config, value)

    flags = {
        # Metering, which also is the only way to interrupt: there is no thread here, nor a signal in time.
        "consume_fuel": True,
        # Under the filter of a child there are no threads, no files behind memory, and address space is
        # scarce: every access is checked by code.
        "parallel_compilation": False,
        # The one thing that code does not check beforehand: a function with a frame larger than the stack
        # touches the page below it first. Without the handler, that would be the end of the process.
        "signals_based_traps": not options.is_interpreted,
        "memory_init_cow": False,
        "native_unwind_info": False,
        # The same results everywhere; and nothing that shares memory or that collects garbage.
        "wasm_threads": False,
        "wasm_relaxed_simd": False,
        "gc_support": False,
        "wasm_gc": False,
        "wasm_exceptions": False,
    }
    for name, value in flags.items():
        setting(name, value)
    setting("memory_reservation", 0)
    setting("memory_guard_size", 0)
    setting("memory_reservation_for_growth", 0)
    setting("max_wasm_stack", STACK)
    setting("async_stack_size", FIBER)
    if options.is_quick:
        setting("cranelift_regalloc_algorithm", 1)  # single pass
        setting("cranelift_opt_level", 0)  # none
    if options.is_interpreted:
        error = library.wasmtime_config_target_set(config, INTERPRETED.encode())
        if error:
            raise Unusable(f"wasmtime {library.version} has no interpreter: {library.error(error)}")
    library.wasmtime_config_host_memory_creator_set(config, ctypes.addressof(memories.creator))
    library.wasmtime_config_host_stack_creator_set(config, ctypes.addressof(stacks.creator))
    return config


class Module(_Owner):
    """A compiled module. Made by an engine.

    Args:
        engine: which one.
        pointer: the object that it owns from now on.
    """

    _delete = "wasmtime_module_delete"

    def __init__(self, engine: Engine, pointer: int) -> None:
        super().__init__(engine.library, pointer)
        self.engine = engine

    def serialize(self) -> bytes:
        """What `Engine.load` makes the same module of. Raises WasmtimeError."""
        vector = self.library.types.wasm_byte_vec_t()
        serialize = self.library.wasmtime_module_serialize
        self.library.check(serialize(self.pointer, ctypes.addressof(vector)))
        return self.library.take_bytes(vector)


class Linker(_Owner):
    """The functions of the host that modules may import.

    Args:
        engine: of the modules.
    """

    _delete = "wasmtime_linker_delete"

    def __init__(self, engine: Engine, pointer: int | None = None) -> None:
        library = engine.library
        super().__init__(library, pointer or library.wasmtime_linker_new(engine.pointer))
        self.engine = engine
        self._numbers: list[int] = []
        self._origin: Linker | None = None

    def copy(self) -> "Linker":
        """Another one with the same functions, for what one store alone defines besides."""
        copied = Linker(self.engine, self.library.wasmtime_linker_clone(self.pointer))
        copied._origin = self  # the functions are this one's
        return copied

    def define(self, module: str, name: str, signature: Signature, body: Body) -> None:
        """Define a function that answers at once.

        `body(caller, values)` finds its arguments in `values[0]`, `values[2]`, ..., each as 64 bits of which
        an `I32` fills the lower half, and puts its result into `values[0]`. What it raises ends the call:
        whoever made that gets it.
        """
        self._define("wasmtime_linker_define_func_unchecked", module, name, signature, body)

    def define_host(self, module: str, name: str, signature: Signature) -> None:
        """Define a function whose calls suspend the code, see `Store.call`. All its types must be numbers."""
        layout = self.engine.layout
        parameters, results = row(signature.parameters, layout), row(signature.results, layout)
        function = HostFunction(module, name, signature, parameters, results)
        self._define("wasmtime_linker_define_async_func", module, name, signature, function)

    def _define(
        self, how: str, module: str, name: str, signature: Signature, function: Body | HostFunction
    ) -> None:
        number = next(self.engine.numbers)
        self.engine.functions[number] = function
        self._numbers.append(number)
        type_ = signature.make(self.library)
        is_host = isinstance(function, HostFunction)
        address = self.engine.suspend_address if is_host else self.engine.call_address
        try:
            error = getattr(self.library, how)(
                *(self.pointer, *_text(module), *_text(name), type_, address, number, None)
            )
        finally:
            self.library.wasm_functype_delete(type_)
        self.library.check(error)

    def prepare(self, module: Module) -> "Prepared":
        """A module with all its imports found, ready to be instantiated often. Raises WasmtimeError."""
        prepared = ctypes.c_void_p()
        prepare = self.library.wasmtime_linker_instantiate_pre
        self.library.check(prepare(self.pointer, module.pointer, ctypes.addressof(prepared)))
        return Prepared(self, module, prepared.value or 0)

    def close(self) -> None:
        """Delete it; its functions trap from now on."""
        for number in self._numbers:
            self.engine.functions.pop(number, None)
        self._numbers = []
        super().close()


class Prepared(_Owner):
    """A module whose imports are found.

    Args:
        linker: that found them; it lives as long.
        module: which one.
        pointer: the object that it owns from now on.
    """

    _delete = "wasmtime_instance_pre_delete"

    def __init__(self, linker: Linker, module: Module, pointer: int) -> None:
        super().__init__(linker.library, pointer)
        self.linker = linker
        self.module = module


def _text(text: str) -> tuple[bytes, int]:
    data = text.encode("utf-8", "surrogatepass")
    return data, len(data)
