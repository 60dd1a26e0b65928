"""Small modules as text, what is called in each, and what comes of it: a list of numbers, or the name of a
trap.
"""

from typing import Any, NamedTuple


class Example(NamedTuple):
    name: str
    text: str
    params: list[Any]
    expected: list[Any] | str


def function(name, types, body, params, expected, around=""):
    """An example with one function `f`; `types` is what stands behind its name."""
    return Example(name, f'(module {around} (func (export "f") {types} {body}))', params, expected)


def binary(name, type_, operation, left, right, expected, result=None):
    result = result or type_
    types = f"(param {type_} {type_}) (result {result})"
    return function(
        name, types, f"({type_}.{operation} (local.get 0) (local.get 1))", [left, right], expected
    )


def unary(name, type_, operation, given, value, expected):
    types = f"(param {given}) (result {type_})"
    return function(name, types, f"({type_}.{operation} (local.get 0))", [value], expected)


I32_MIN, I64_MIN = -(2**31), -(2**63)
MEMORY = '(memory (export "memory") 1 2) (data (i32.const 0) "\\01\\ff\\03\\80\\05")'
TABLE = """(type $t (func (result i32))) (table 4 funcref) (elem (i32.const 0) $a $b $c)
  (func $a (result i32) i32.const 10) (func $b (result i32) i32.const 20) (func $c (param i32))"""

EXAMPLES = [
    # Numbers
    binary("i32 add wraps", "i32", "add", 2**31 - 1, 1, [I32_MIN]),
    binary("i32 sub", "i32", "sub", 3, 5, [-2]),
    binary("i32 mul wraps", "i32", "mul", 65536, 65536, [0]),
    binary("i32 div_s", "i32", "div_s", -7, 2, [-3]),
    binary("i32 div_u", "i32", "div_u", -1, 2, [2**31 - 1]),
    binary("i32 div by zero", "i32", "div_s", 1, 0, "integer divide by zero"),
    binary("i32 div_u by zero", "i32", "div_u", 1, 0, "integer divide by zero"),
    binary("i32 div overflow", "i32", "div_s", I32_MIN, -1, "integer overflow"),
    binary("i32 rem_s", "i32", "rem_s", -7, 2, [-1]),
    binary("i32 rem overflow is zero", "i32", "rem_s", I32_MIN, -1, [0]),
    binary("i32 rem by zero", "i32", "rem_u", 1, 0, "integer divide by zero"),
    binary("i32 shifts by so much modulo 32", "i32", "shl", 1, 33, [2]),
    binary("i32 shr_s", "i32", "shr_s", -8, 1, [-4]),
    binary("i32 shr_u", "i32", "shr_u", -8, 28, [15]),
    binary("i32 rotl", "i32", "rotl", -(2**31), 1, [1]),
    binary("i32 comparison", "i32", "lt_u", 1, -1, [1]),
    unary("i32 clz", "i32", "clz", "i32", 1, [31]),
    unary("i32 popcnt", "i32", "popcnt", "i32", -1, [32]),
    unary("i32 extend8_s", "i32", "extend8_s", "i32", 255, [-1]),
    binary("i64 add wraps", "i64", "add", 2**63 - 1, 1, [I64_MIN]),
    binary("i64 mul", "i64", "mul", 2**32, 2**30, [2**62]),
    binary("i64 div by zero", "i64", "div_u", 5, 0, "integer divide by zero"),
    binary("i64 div overflow", "i64", "div_s", I64_MIN, -1, "integer overflow"),
    binary("i64 comparison", "i64", "gt_s", 1, -1, [1], "i32"),
    unary("i64 ctz", "i64", "ctz", "i64", I64_MIN, [63]),
    unary("i64 extend_i32_u", "i64", "extend_i32_u", "i32", -1, [2**32 - 1]),
    unary("i32 wrap", "i32", "wrap_i64", "i64", 2**32 + 5, [5]),
    binary("f32 add rounds", "f32", "add", 0.1, 0.2, [0.3]),
    binary("f32 div by zero is infinite", "f32", "div", 1, 0, [None]),
    binary("f32 max", "f32", "max", -1, 2.5, [2.5]),
    binary("f64 add", "f64", "add", 0.1, 0.2, [0.30000000000000004]),
    binary("f64 zero by zero is no number", "f64", "div", 0, 0, [None]),
    binary("f64 min", "f64", "min", 0.0, -0.0, [-0.0]),
    binary("f64 copysign", "f64", "copysign", 2, -1, [-2.0]),
    unary("f64 sqrt", "f64", "sqrt", "f64", 2, [1.4142135623730951]),
    unary("f64 nearest goes to the even one", "f64", "nearest", "f64", 2.5, [2.0]),
    unary("f32 demote", "f32", "demote_f64", "f64", 1e40, [None]),
    unary("f64 promote", "f64", "promote_f32", "f32", 0.1, [0.10000000149011612]),
    unary("i32 trunc", "i32", "trunc_f64_s", "f64", -2.9, [-2]),
    unary("i32 trunc of what is too large", "i32", "trunc_f64_s", "f64", 1e10, "integer overflow"),
    unary("i32 trunc_sat", "i32", "trunc_sat_f64_s", "f64", 1e10, [2**31 - 1]),
    unary("f64 of an i64", "f64", "convert_i64_u", "i64", -1, [18446744073709551616.0]),
    unary("bits of a float", "i32", "reinterpret_f32", "f32", 1, [0x3F800000]),
    function(
        "trunc of no number",
        "(result i32)",
        "(i32.trunc_f32_s (f32.div (f32.const 0) (f32.const 0)))",
        [],
        "invalid conversion to integer",
    ),
    function(
        "v128",
        "(param v128) (result v128 i32)",
        "(i32x4.add (local.get 0) (local.get 0)) (i32x4.extract_lane 1 (local.get 0))",
        [(7 << 32) + 1],
        [str((14 << 32) + 2), 7],
    ),
    # Control
    function("nothing", "", "", [], []),
    function(
        "several results",
        "(param i32 f64) (result f64 i32)",
        "(local.get 1) (local.get 0)",
        [1, 2.5],
        [2.5, 1],
    ),
    function(
        "if",
        "(param i32) (result i32)",
        "(if (result i32) (local.get 0) (then (i32.const 1)) (else (i32.const 2)))",
        [0],
        [2],
    ),
    function(
        "select", "(param i32) (result i64)", "(select (i64.const 1) (i64.const 2) (local.get 0))", [5], [1]
    ),
    function(
        "a loop that sums",
        "(param i32) (result i64) (local $s i64)",
        """
      (loop $l (local.set $s (i64.add (local.get $s) (i64.extend_i32_u (local.get 0))))
        (local.set 0 (i32.sub (local.get 0) (i32.const 1))) (br_if $l (local.get 0))) (local.get $s)""",
        [100000],
        [5000050000],
    ),
    function(
        "br_table",
        "(param i32) (result i32)",
        """
      (block (block (block (br_table 0 1 2 (local.get 0))) (return (i32.const 100))) (return (i32.const 200)))
      (i32.const 300)""",
        [1],
        [200],
    ),
    function(
        "br_table beyond",
        "(param i32) (result i32)",
        """
      (block (block (br_table 0 1 (local.get 0))) (return (i32.const 100))) (i32.const 200)""",
        [77],
        [200],
    ),
    function(
        "a block with a value",
        "(result i32)",
        "(block (result i32) (br 0 (i32.const 4)) (i32.const 5))",
        [],
        [4],
    ),
    function("unreachable", "(result i32)", "unreachable", [], "unreachable"),
    Example(
        "recursion",
        """(module (func $f (export "f") (param i64) (result i64)
      (if (result i64) (i64.eqz (local.get 0)) (then (i64.const 1))
        (else (i64.mul (local.get 0) (call $f (i64.sub (local.get 0) (i64.const 1))))))))""",
        [20],
        [2432902008176640000],
    ),
    Example(
        "recursion without an end",
        '(module (func $f (export "f") (result i32) (i32.add (i32.const 1) (call $f))))',
        [],
        "call stack exhausted",
    ),
    Example(
        "a tail call needs no stack",
        """(module (func $f (export "f") (param i32) (result i32)
      (if (result i32) (local.get 0) (then (return_call $f (i32.sub (local.get 0) (i32.const 1))))
        (else (i32.const 9)))))""",
        [200000],
        [9],
    ),
    function(
        "a global",
        "(result i32)",
        "(global.set $g (i32.add (global.get $g) (i32.const 1))) (global.get $g)",
        [],
        [8],
        "(global $g (mut i32) (i32.const 7))",
    ),
    Example(
        "a start function",
        """(module (global $g (mut i32) (i32.const 1)) (func $s (global.set $g (i32.const 3)))
      (start $s) (func (export "f") (result i32) (global.get $g)))""",
        [],
        [3],
    ),
    Example(
        "a start function that traps",
        '(module (func $s unreachable) (start $s) (func (export "f")))',
        [],
        "unreachable",
    ),
    # Tables
    function(
        "call_indirect",
        "(param i32) (result i32)",
        "(call_indirect (type $t) (local.get 0))",
        [1],
        [20],
        TABLE,
    ),
    function(
        "call_indirect of another type",
        "(param i32) (result i32)",
        "(call_indirect (type $t) (local.get 0))",
        [2],
        "indirect call type mismatch",
        TABLE,
    ),
    function(
        "call_indirect of nothing",
        "(param i32) (result i32)",
        "(call_indirect (type $t) (local.get 0))",
        [3],
        "uninitialized element",
        TABLE,
    ),
    function(
        "call_indirect beyond the table",
        "(param i32) (result i32)",
        "(call_indirect (type $t) (local.get 0))",
        [4],
        "out of bounds table access",
        TABLE,
    ),
    function(
        "table.grow",
        "(result i32 i32)",
        "(table.grow (ref.null func) (i32.const 6)) (table.size)",
        [],
        [4, 10],
        TABLE,
    ),
    function(
        "table.set beyond",
        "",
        "(table.set (i32.const 4) (ref.null func))",
        [],
        "out of bounds table access",
        TABLE,
    ),
    # Memory
    function("load8_s", "(result i32)", "(i32.load8_s (i32.const 1))", [], [-1], MEMORY),
    function("load16_u", "(result i32)", "(i32.load16_u (i32.const 2))", [], [0x8003], MEMORY),
    function(
        "store and load",
        "(param i64) (result i64)",
        "(i64.store (i32.const 100) (local.get 0)) (i64.load (i32.const 100))",
        [-5],
        [-5],
        MEMORY,
    ),
    function("an offset", "(result i32)", "(i32.load8_u offset=4 (i32.const 0))", [], [5], MEMORY),
    function("the last byte", "(result i32)", "(i32.load8_u (i32.const 65535))", [], [0], MEMORY),
    function(
        "behind the last byte",
        "(result i32)",
        "(i32.load (i32.const 65533))",
        [],
        "out of bounds memory access",
        MEMORY,
    ),
    function(
        "an address that would wrap around",
        "(result i32)",
        "(i32.load offset=4294967295 (i32.const -1))",
        [],
        "out of bounds memory access",
        MEMORY,
    ),
    function(
        "store behind the last byte",
        "",
        "(i64.store (i32.const 65529) (i64.const 1))",
        [],
        "out of bounds memory access",
        MEMORY,
    ),
    function(
        "memory.grow",
        "(result i32 i32 i32)",
        "(memory.grow (i32.const 1)) (memory.grow (i32.const 0)) (memory.size)",
        [],
        [1, 2, 2],
        MEMORY,
    ),
    function(
        "what is grown can be used and is zero",
        "(result i32)",
        "(drop (memory.grow (i32.const 1))) (i32.load (i32.const 131068))",
        [],
        [0],
        MEMORY,
    ),
    function(
        "memory.fill and memory.copy",
        "(result i32)",
        """(memory.fill (i32.const 10) (i32.const 7) (i32.const 4))
      (memory.copy (i32.const 20) (i32.const 9) (i32.const 4)) (i32.load (i32.const 20))""",
        [],
        [0x07070700],
        MEMORY,
    ),
    function(
        "memory.fill beyond",
        "",
        "(memory.fill (i32.const 65535) (i32.const 7) (i32.const 2))",
        [],
        "out of bounds memory access",
        MEMORY,
    ),
    function(
        "memory.init",
        "(result i32)",
        """(memory.init $d (i32.const 50) (i32.const 1) (i32.const 2)) (data.drop $d)
      (i32.load16_u (i32.const 50))""",
        [],
        [0x6362],
        '(memory 1) (data $d "abc")',
    ),
    function(
        "memory.init of what was dropped",
        "",
        """(data.drop $d) (memory.init $d (i32.const 0) (i32.const 0)
      (i32.const 1))""",
        [],
        "out of bounds memory access",
        '(memory 1) (data $d "abc")',
    ),
    function(
        "two memories",
        "(result i32)",
        """(i32.store $b (i32.const 0) (i32.const 6)) (i32.add (i32.load $a (i32.const 0))
      (i32.load $b (i32.const 0)))""",
        [],
        [6],
        "(memory $a 1) (memory $b 1)",
    ),
    Example(
        "data beyond the memory",
        '(module (memory 1) (data (i32.const 65535) "ab") (func (export "f")))',
        [],
        "out of bounds memory access",
    ),
    Example(
        "a memory of 64 bits",
        """(module (memory i64 1) (func (export "f") (param i64) (result i32)
      (i32.load8_u (local.get 0))))""",
        [2**40],
        "out of bounds memory access",
    ),
]
