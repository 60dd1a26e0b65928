"""A binding to wasmtime: modules, instances, calls that can be suspended, fuel, exact limits of memory.

It is synchronous, knows nothing of the rest of Jefe, and can be used without it:

    library = load()
    engine = Engine(library)
    text = b'(module (func (export "one") (result i32) i32.const 1))'
    prepared = Linker(engine).prepare(engine.compile(binary_of(library, text)))
    with Store(engine) as store:
        _, place = store.instantiate(prepared).find("one")
        assert store.call(Function.of(place, Signature((), ("I32",)), engine)) == [1]

What holds:

- Nothing that was deleted can be used: who owns what stands in engine.py and store.py.
- No exception leaves a callback; it ends the call, and whoever made the call gets it.
- Code cannot run for longer than its share of fuel without Python having its turn.
- One thread. While code runs, no handler of a signal may raise: it could do so in a callback, before that can
  catch anything. Whoever wants to end a call raises in `pause`.
"""

from child.engines.wasm.binding.engine import (
    FIBER,
    STACK,
    Body,
    Caller,
    Engine,
    HostFunction,
    Linker,
    Module,
    Options,
    Prepared,
    binary_of,
)
from child.engines.wasm.binding.library import (
    Closed,
    Frame,
    Library,
    Trap,
    Unusable,
    WasmtimeError,
    load,
)
from child.engines.wasm.binding.memories import Account
from child.engines.wasm.binding.signatures import NUMBERS, Number, Signature
from child.engines.wasm.binding.store import (
    MOST_FUEL,
    SHARE,
    Function,
    Instance,
    Limits,
    Memory,
    Store,
    define,
)
from child.engines.wasm.binding.trial import try_out

__all__ = [
    "FIBER",
    "MOST_FUEL",
    "NUMBERS",
    "SHARE",
    "STACK",
    "Account",
    "Body",
    "Caller",
    "Closed",
    "Engine",
    "Frame",
    "Function",
    "HostFunction",
    "Instance",
    "Library",
    "Limits",
    "Linker",
    "Memory",
    "Module",
    "Number",
    "Options",
    "Prepared",
    "Signature",
    "Store",
    "Trap",
    "Unusable",
    "WasmtimeError",
    "binary_of",
    "define",
    "load",
    "try_out",
]
