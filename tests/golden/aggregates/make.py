#!/usr/bin/env python3
"""Expected values of every aggregate, made with exact fractions, by code that shares nothing with the library.

    python3 tests/golden/aggregates/make.py > tests/golden/aggregates/cases.txt

Standard library only; the same text every time. A case is one line:

    function[(constant)] [distinct] [ignore_nulls] [limit=n] | argument type | values, in order | expected value

Floats are their bits in hexadecimal, decimals their unscaled integers, times and durations integers in their unit, strings JSON,
binaries hexadecimal after `x`. `null` is NULL, `error` is a value that cannot be computed.
"""

import json
import math
import struct
from fractions import Fraction

NAN, INF = float("nan"), float("inf")
ERROR = object()
TINY, HUGE = 5e-324, 1.7976931348623157e308


# ---------------------------------------------------------------- values as text

def f64(x):
    if x != x:
        return "7ff8000000000000"
    return struct.pack(">d", x).hex()


def f32(x):
    if x != x:
        return "7fc00000"
    return struct.pack(">f", x).hex()


def text(kind, value):
    if value is None:
        return "null"
    if kind == "Float64":
        return f64(value)
    if kind == "Float32":
        return f32(value)
    if kind == "Boolean":
        return "true" if value else "false"
    if "Utf8" in kind:
        return json.dumps(value).replace(" ", "\\u0020")
    if "Binary" in kind:
        return "x" + value.hex()
    return str(value)


def emit(function, kind, values, expected, result=None):
    """Prints a case; `expected` is a value of the type `result` (default: that of the argument), a list, or ERROR."""
    result = result or kind
    if expected is ERROR:
        shown = "error"
    elif isinstance(expected, list):
        shown = "[" + " ".join(text(result, value) for value in expected) + "]"
    else:
        shown = text(result, expected)
    print(" | ".join([function, kind, " ".join(text(kind, value) for value in values), shown]))


# ---------------------------------------------------------------- exact arithmetic

def to_float(q):
    """The nearest float, half to even. Division of integers rounds correctly in Python; beyond the range it raises."""
    try:
        return q.numerator / q.denominator
    except OverflowError:
        return INF if q > 0 else -INF


def root_to_float(q):
    """The float nearest to √q, found by comparing squares."""
    if q == 0:
        return 0.0
    scale = max(0, 140 - (q.numerator.bit_length() - q.denominator.bit_length()))
    scale += scale % 2
    guess = to_float(Fraction(math.isqrt((q.numerator << scale) // q.denominator), 1 << (scale // 2)))
    best = None
    for candidate in (math.nextafter(guess, 0.0), guess, math.nextafter(guess, INF)):
        # √q lies above the midpoint between two neighbours iff q > midpoint².
        middle = best is not None and ((exact(best) + exact(candidate)) / 2) ** 2
        if best is None or q > middle or (q == middle and struct.pack(">d", candidate)[-1] % 2 == 0):
            best = candidate
    return best


def exact(x):
    """What rounding takes a float for: infinity is the power of two after the largest one."""
    return Fraction(2) ** 1024 if x == INF else Fraction(x)


def half_even(q):
    low = q.numerator // q.denominator
    rest = q - low
    return low + (1 if rest > Fraction(1, 2) or (rest == Fraction(1, 2) and low % 2 == 1) else 0)


def special_sum(values):
    """The sum where some value is not finite, else None."""
    if any(x != x for x in values) or (INF in values and -INF in values):
        return NAN
    return next((x for x in (INF, -INF) if x in values), None)


def present(values):
    return [x for x in values if x is not None]


def float_sum(values):
    values = present(values)
    if not values:
        return None
    special = special_sum(values)
    # Fraction(−0.0) is 0, so a sum of negative zeros is 0.0.
    return special if special is not None else to_float(sum(map(Fraction, values), Fraction(0)))


def float_avg(values):
    values = present(values)
    if not values:
        return None
    special = special_sum(values)
    return special if special is not None else to_float(sum(map(Fraction, values), Fraction(0)) / len(values))


def spread(values, minus, finish):
    values = present(values)
    if len(values) <= minus:
        return None
    if special_sum(values) is not None:
        return NAN
    values = [Fraction(x) for x in values]
    mean = sum(values, Fraction(0)) / len(values)
    return finish(sum(((x - mean) ** 2 for x in values), Fraction(0)) / (len(values) - minus))


def fitting(value, low, high):
    return value if low <= value <= high else ERROR


# ---------------------------------------------------------------- inputs

def lcg(seed):
    while True:
        seed = (seed * 6364136223846793005 + 1442695040888963407) % 2**64
        yield seed >> 11


def money(count, seed):
    numbers = lcg(seed)
    return [next(numbers) % 1_000_000 / 100 for _ in range(count)]


def any_float(count, seed):
    """Finite floats of every exponent."""
    numbers, found = lcg(seed), []
    while len(found) < count:
        bits = next(numbers) << 11 ^ next(numbers)
        x = struct.unpack(">d", struct.pack(">Q", bits % 2**64))[0]
        if math.isfinite(x):
            found.append(x)
    return found


FLOATS = [
    [], [None], [None, None, None], [1.5], [None, -2.25, None], [0.0], [-0.0], [-0.0, -0.0], [-0.0, 0.0], [0.1] * 10,
    [1.0, -1.0], [1e16, 1.0, -1e16], [1e16, 1e16, 1.0, -9999999999999998.0], [1e100, 1.0, -1e100], [1e300, 1e-300, -1e300],
    [2.0**53, 1.0], [2.0**53, 1.0, 1.0], [2.0**53 + 2, 1.0], [2.0**53, 1.0, TINY], [2.0**53 + 2, 1.0, -TINY], [2.0**53, -0.5],
    [TINY], [TINY, TINY], [TINY, -TINY], [TINY] * 3, [2.0**-1022, -TINY], [2.0**-1022, 2.0**-1022], [3 * TINY, 4 * TINY],
    [HUGE], [HUGE, HUGE], [-HUGE, -HUGE], [HUGE, HUGE, -HUGE], [HUGE, 2.0**970], [HUGE, 2.0**969], [HUGE, 2.0**970, -TINY], [HUGE, HUGE, -HUGE, -HUGE, TINY],
    [HUGE, -HUGE], [HUGE, TINY], [INF], [-INF], [INF, 1.0], [-INF, HUGE, None], [INF, -INF], [INF, INF], [NAN], [NAN, 1.0], [NAN, INF], [NAN, -INF, INF, None],
    [1e9 + 4, 1e9 + 7, 1e9 + 13, 1e9 + 16], [1e15 + 1, 1e15 + 2], [3.0, 3.0, 3.0], [1.0, 2.0, 3.0, 4.0], [-1.0, -2.0, -4.0], [0.1, 0.2, 0.3],
    [1e-160, 2e-160], [1e-170, 3e-170, 7e-170], [1e200, -1e200], [1e154, -1e154], [1.0, 1.0 + 2**-52], [1e308, 1e308, 1e308],
    [float(x) for x in range(1, 101)], money(50, 1), money(200, 2), any_float(20, 3), any_float(60, 4), [x for y in any_float(20, 5) for x in (y, -y)] + [TINY],
]

I64 = (-(2**63), 2**63 - 1)
U64 = (0, 2**64 - 1)
INTEGERS = [
    [], [None], [0], [5], [-7, None], [1, 2], [1, 2, 4], [-1, -2], [-1, -2, -4], [I64[1]], [I64[0]], [I64[1], 1], [I64[0], -1], [I64[1], 1, -1], [I64[1], I64[0]],
    [I64[0], I64[0], I64[1], I64[1]], [2**53, 2**53 + 1], [2**53 + 1], [2**62, 2**62 + 2, 3], [2**61 + 1] * 3, list(range(100)),
]
UNSIGNED = [[], [None], [0], [7, None], [1, 2], [U64[1]], [U64[1], 1], [U64[1], U64[1], 0], [2**53 + 1], [2**63, 2**63 - 1]]
BIG = 10**38 - 1
DECIMALS = {
    (10, 2): [[], [None], [100, 200, 200], [0, 0], [1, 2], [-1, -2], [-100, None], [10**10 - 1] * 3, [1, 1, 2], [3, 4], [5] * 7 + [6]],
    (38, 0): [[BIG], [BIG, 1], [BIG, 1, -1], [-BIG, -BIG], [-BIG, BIG], [BIG, BIG, -BIG, 7]],
    (38, 4): [[BIG], [1, 2], [-1, 2, 2], [10**34, 1], [10**30, 1, 1]],
    (38, 36): [[1, 2, 2], [10**37, 10**37]],
    (5, -2): [[1, 2], [99999, 1, 1]],
}


def sums():
    for values in FLOATS:
        emit("sum", "Float64", values, float_sum(values))
        emit("avg", "Float64", values, float_avg(values))
        emit("var_samp", "Float64", values, spread(values, 1, to_float))
        emit("var_pop", "Float64", values, spread(values, 0, to_float))
        emit("stddev_samp", "Float64", values, spread(values, 1, root_to_float))
        emit("stddev_pop", "Float64", values, spread(values, 0, root_to_float))
    for kind, cases, (low, high) in (("Int64", INTEGERS, I64), ("UInt64", UNSIGNED, U64)):
        for values in cases:
            known = present(values)
            emit("sum", kind, values, fitting(sum(known), low, high) if known else None)
            emit("avg", kind, values, to_float(Fraction(sum(known), len(known))) if known else None, "Float64")
    for unit in ("Second", "Millisecond", "Microsecond", "Nanosecond"):
        for values in INTEGERS:
            known, kind = present(values), f"Duration({unit})"
            emit("sum", kind, values, fitting(sum(known), *I64) if known else None)
            emit("avg", kind, values, half_even(Fraction(sum(known), len(known))) if known else None)
    for (precision, scale), cases in DECIMALS.items():
        for values in cases:
            known, kind = present(values), f"Decimal128({precision}, {scale})"
            bound = 10 ** min(38, precision + 10) - 1
            emit("sum", kind, values, fitting(sum(known), -bound, bound) if known else None, "Decimal")
            finer, bound = min(38, scale + 4) - scale, 10 ** min(38, precision + 4) - 1
            mean = half_even(Fraction(sum(known) * 10**finer, len(known))) if known else None
            emit("avg", kind, values, fitting(mean, -bound, bound) if known else None, "Decimal")


# ---------------------------------------------------------------- every type

SIGNED = {"Int8": 8, "Int16": 16, "Int32": 32, "Int64": 64, "Date32": 32, "Date64": 64, "Time32(Second)": 32, "Time64(Microsecond)": 64,
          "Timestamp(Second, None)": 64, "Timestamp(Millisecond, None)": 64, "Timestamp(Microsecond, None)": 64,
          'Timestamp(Nanosecond, Some("UTC"))': 64, "Duration(Second)": 64, "Duration(Nanosecond)": 64}
PLAIN = {
    "Boolean": [[], [None], [True], [False], [True, None, True], [False, False], [True, False, None], [None, False, True]],
    "Float64": [[], [None], [1.5, None, -2.5], [-0.0, 0.0], [0.0, -0.0], [NAN], [NAN, 1.0], [1.0, NAN, INF], [-INF, INF, TINY], [-INF, NAN], [TINY, -TINY],
                [HUGE, -HUGE], [3.0, 1.0, 2.0, 1.0]],
    "Float32": [[], [None], [1.5, None, -2.5], [-0.0], [NAN, 1.0], [-INF, INF], [2.0**-149, -(2.0**-149)], [3.0, 1.0, 2.0, 1.0]],
}
for name, bits in SIGNED.items():
    PLAIN[name] = [[], [None], [0], [-1, 1, None], [2 ** (bits - 1) - 1, -(2 ** (bits - 1)), 0], [3, 1, 2, 1, 300 % 2 ** (bits - 2)]]
for bits in (8, 16, 32, 64):
    PLAIN[f"UInt{bits}"] = [[], [None], [0], [2**bits - 1, 0, None], [3, 1, 2, 1]]
for precision, scale in ((10, 2), (38, 10)):
    PLAIN[f"Decimal128({precision}, {scale})"] = [[], [None], [0], [10**precision - 1, 1 - 10**precision, None], [3, 1, 2, 1, -(2**33)]]
for name in ("Utf8", "LargeUtf8", "Utf8View"):
    PLAIN[name] = [[], [None], [""], ["b", "", None, "a"], ["ab", "a", "abc", "b"], ["é", "z", "日本", "e"], ["a" * 40, "a" * 41, "x y"], ["a", "b", "a", None, "b"]]
for name in ("Binary", "LargeBinary", "BinaryView"):
    PLAIN[name] = [[], [None], [b""], [b"\xff", b"\x00", None, b""], [b"ab", b"a", b"abc", b"b"], [b"\xff", b"\xff\x00", b"\xff"]]
PLAIN["FixedSizeBinary(2)"] = [[], [None], [b"ab", b"\x00\xff", None, b"ab"]]


def order(x):
    """Ascending, NaN greatest."""
    if isinstance(x, float):
        return (x != x, 0.0 if x != x else x)
    return x.encode() if isinstance(x, str) else x


def canonical(x):
    if isinstance(x, float):
        return NAN if x != x else x + 0.0
    return x


def identity(x):
    return f64(canonical(x)) if isinstance(x, float) else x


def plain():
    for kind, cases in PLAIN.items():
        for values in cases:
            known, values_out = present(values), [None if x is None else canonical(x) for x in values]
            emit("count", kind, values, len(known), "Int64")
            emit("min", kind, values, canonical(min(known, key=order)) if known else None)
            emit("max", kind, values, canonical(max(known, key=order)) if known else None)
            emit("min distinct", kind, values, canonical(min(known, key=order)) if known else None)
            distinct = len({identity(x) for x in known})
            emit("count distinct limit=3", kind, values, distinct if distinct <= 3 else ERROR, "Int64")
            emit("count distinct limit=1000", kind, values, distinct, "Int64")
            emit("approx_distinct", kind, values, approx_distinct(kind, known), "UInt64")
            ordered(kind, values, values_out)
    for values in PLAIN["Boolean"]:
        known = present(values)
        emit("bool_and", "Boolean", values, all(known) if known else None)
        emit("bool_or", "Boolean", values, any(known) if known else None)


def ordered(kind, values, out):
    known = [x for x in out if x is not None]
    for nulls, rows in (("", out), (" ignore_nulls", known)):
        emit("first_value" + nulls, kind, values, rows[0] if rows else None)
        emit("last_value" + nulls, kind, values, rows[-1] if rows else None)
        emit("nth_value(2)" + nulls, kind, values, rows[1] if len(rows) > 1 else None)
        emit("nth_value(-3)" + nulls, kind, values, rows[-3] if len(rows) > 2 else None)
        emit(f"array_agg{nulls} limit=4", kind, values, (rows or None) if len(rows) <= 4 else ERROR)


# ---------------------------------------------------------------- approx_distinct

MASK = 2**64 - 1
# The start of XXH3's secret.
SECRET = bytes.fromhex(
    "b8fe6c3923a44bbe7c01812cf721ad1cded46de9839097db7240a4a4b7b3671fcb79e64eccc0e578825ad07dccff7221b8084674f743248ee03590e6813a264c"
    "3c2852bb91c300cb88d0658b532ea371644897a20df94e3819ef46a9deacd8a8fa763fe39c343ff9dcbbc7c70b4f1d8a51e04bcdb45931c89f7ec9d9787364"
)


def le(data, at, size=8):
    return int.from_bytes(data[at:at + size], "little")


def swap(x):
    return int.from_bytes(x.to_bytes(8, "little"), "big")


def rotl(x, n):
    return (x << n | x >> (64 - n)) & MASK


def fold(a, b):
    return (a * b & MASK) ^ (a * b >> 64)


def xxh64_avalanche(h):
    h = (h ^ h >> 33) * 0xC2B2AE3D27D4EB4F & MASK
    h = (h ^ h >> 29) * 0x165667B19E3779F9 & MASK
    return h ^ h >> 32


def xxh3_avalanche(h):
    h = (h ^ h >> 37) * 0x165667919E3779F9 & MASK
    return h ^ h >> 32


def xxh3(data):
    """XXH3-64 without a seed, for up to 128 bytes, after the specification."""
    n = len(data)
    if n == 0:
        return xxh64_avalanche(le(SECRET, 56) ^ le(SECRET, 64))
    if n <= 3:
        combined = data[0] << 16 | data[n >> 1] << 24 | data[n - 1] | n << 8
        return xxh64_avalanche(combined ^ (le(SECRET, 0, 4) ^ le(SECRET, 4, 4)))
    if n <= 8:
        h = (le(data, n - 4, 4) + (le(data, 0, 4) << 32)) ^ le(SECRET, 8) ^ le(SECRET, 16)
        h ^= rotl(h, 49) ^ rotl(h, 24)
        h = h * 0x9FB21C651E98DF25 & MASK
        h ^= (h >> 35) + n
        h = h * 0x9FB21C651E98DF25 & MASK
        return h ^ h >> 28
    if n <= 16:
        low = le(data, 0) ^ le(SECRET, 24) ^ le(SECRET, 32)
        high = le(data, n - 8) ^ le(SECRET, 40) ^ le(SECRET, 48)
        return xxh3_avalanche((n + swap(low) + high + fold(low, high)) & MASK)
    assert n <= 128

    def mix(at, secret):
        return fold(le(data, at) ^ le(SECRET, secret), le(data, at + 8) ^ le(SECRET, secret + 8))

    h = n * 0x9E3779B185EBCA87 & MASK
    for i in range((n - 1) // 32, -1, -1):
        h += mix(16 * i, 32 * i) + mix(n - 16 * (i + 1), 32 * i + 16)
    return xxh3_avalanche(h & MASK)


def leb128(x):
    out = bytearray()
    while x >= 128:
        out.append(x % 128 + 128)
        x //= 128
    return bytes(out + bytes([x]))


def value_bytes(kind, x):
    """The canonical bytes of a value, as the documentation of the library states them."""
    if kind == "Boolean" or kind.startswith("UInt"):
        return leb128(int(x))
    if kind == "Float64":
        return bytes.fromhex(f64(canonical(x))).rstrip(b"\0") or b"\0"
    if kind == "Float32":
        return bytes.fromhex(f32(canonical(x))).rstrip(b"\0") or b"\0"
    if kind.startswith("Decimal"):
        size = (abs(x).bit_length() + 7) // 8
        return leb128(2 * size + (x < 0)) + abs(x).to_bytes(size, "little")
    if "Utf8" in kind:
        return x.encode()
    return x if "Binary" in kind else leb128(2 * x if x >= 0 else -2 * x - 1)


def approx_distinct(kind, values):
    registers = [0] * 4096
    for x in values:
        h = xxh3(value_bytes(kind, x))
        rest = h & (2**52 - 1)
        registers[h >> 52] = max(registers[h >> 52], 52 - rest.bit_length() + 1)
    return estimate([registers.count(rank) for rank in range(54)])


def estimate(counts):
    """Ertl's improved estimator, in 200-bit fixed point."""
    from decimal import Decimal, localcontext
    with localcontext() as context:
        context.prec = 60
        m = Decimal(4096)
        if counts[0] == 4096:
            return 0
        x = 1 - Decimal(counts[53]) / m
        y, tau = Decimal(1), 1 - x
        for _ in range(200):
            x, y = x.sqrt(), y / 2
            tau -= (1 - x) ** 2 * y
        z = m * tau / 3
        for rank in range(52, 0, -1):
            z = (z + counts[rank]) / 2
        x = Decimal(counts[0]) / m
        y, sigma = Decimal(1), x
        for _ in range(30):
            x = x * x
            sigma, y = sigma + x * y, y * 2
        z += m * sigma
        return int((m * m / (2 * Decimal(2).ln() * z)).to_integral_value())


def distinct_counts():
    for count in (1, 10, 100, 500, 1000, 5000):
        values = list(range(count)) * (2 if count <= 500 else 1)
        emit("approx_distinct", "Int64", values, approx_distinct("Int64", values), "UInt64")
    values = [f"user-{i}" for i in range(1500)]
    emit("approx_distinct", "Utf8", values, approx_distinct("Utf8", values), "UInt64")


# ---------------------------------------------------------------- approx_percentile_cont

def middle(x):
    """The middle of the value's bucket: a 64th of its binary order of magnitude."""
    if x != x or math.isinf(x) or x == 0:
        return canonical(x)
    exponent = max(math.frexp(abs(x))[1] - 1, -1022)
    step = Fraction(2) ** exponent / 64
    bucket = Fraction(abs(x)) // step
    return math.copysign(to_float((bucket + Fraction(1, 2)) * step), x)


def percentile(values, p):
    values = sorted((middle(x) for x in present(values)), key=order)
    if not values:
        return None
    rank = p * (len(values) - 1)
    below, part = int(rank), rank - int(rank)
    low, high = values[below], values[min(below + 1, len(values) - 1)]
    if part == 0 or low == high:
        return low
    if math.isfinite(low) and math.isfinite(high):
        return low * (1 - part) + high * part
    return low if part < 0.5 else high


def percentiles():
    sets = [[], [None], [1.0], [1.0, 2.0], [0.0, -0.0, None], [-1.0, 0.0, 1.0], [INF, -INF], [INF, 1.0], [NAN, 1.0, 2.0], [NAN], [HUGE, -HUGE], [-TINY, TINY],
            [1e-300, 1e-310, 1.0], [100.0, 100.5, 101.0, 102.0], [-5.0, -7.0, -11.0, 13.0], money(101, 7), any_float(50, 8)]
    for p in (0.0, 0.25, 0.5, 0.95, 1.0):
        for values in sets:
            emit(f"approx_percentile_cont({p})", "Float64", values, percentile(values, p))
        for values in ([], [1.5, None, 2.5], [NAN, -INF, 3.0], [2.0**-149, 1.0]):
            # The bucket of a Float32 is that of the same value as a Float64.
            emit(f"approx_percentile_cont({p})", "Float32", values, percentile(values, p))


def main():
    print("# Made by make.py in this directory. Do not edit.")
    sums()
    plain()
    distinct_counts()
    percentiles()


main()
