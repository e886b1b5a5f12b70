#!/usr/bin/env python3
"""Expected values of `hash_bucket`, `dot` and `cosine`, made outside Rust: with the package `xxhash`, and with exact fractions.

    python3 -m venv venv && venv/bin/pip install xxhash==4.1.0
    venv/bin/python tests/golden/functions/make.py > tests/golden/functions/cases.txt

The same text every time. A case is one line:

    hash_bucket | type | value | buckets | bucket
    dot or cosine | elements | elements | expected value

Floats are their bits in hexadecimal, texts JSON. `null` is NULL.
"""

import json
import math
import random
import struct
from decimal import Decimal, getcontext
from fractions import Fraction

import xxhash

getcontext().prec = 400
random.seed(20240308)


def bits(x):
    return "null" if x is None else "7ff8000000000000" if x != x else struct.pack(">d", x).hex()


# ---------------------------------------------------------------- hash_bucket

def leb128(value):
    out = bytearray()
    while True:
        byte, value = value & 0x7F, value >> 7
        out.append(byte | (0x80 if value else 0))
        if not value:
            return bytes(out)


def zigzag(value):
    return leb128(2 * value if value >= 0 else -2 * value - 1)


def float_bytes(x):
    x = math.nan if x != x else x + 0.0
    encoded = bytes.fromhex(bits(x)).rstrip(b"\0")
    return encoded or b"\0"


def buckets():
    texts = ["", "a", "UA", "Größe", "a text that is longer than the shortest forms of the hash, which end at sixteen bytes " * 4]
    wholes = [0, 1, -1, 300, -300, 2**31, -(2**31), 2**53 + 1, 2**63 - 1, -(2**63)]
    floats = [0.0, -0.0, 1.0, 0.1, -2.5, 1e300, math.inf, -math.inf, math.nan]
    kinds = [
        ("Utf8", texts, lambda v: v.encode(), json.dumps),
        ("Int64", wholes, zigzag, str),
        ("UInt64", [w for w in wholes if w >= 0] + [2**64 - 1], leb128, str),
        ("Boolean", [False, True], lambda v: leb128(int(v)), lambda v: str(v).lower()),
        ("Float64", floats, float_bytes, bits),
    ]
    for kind, values, encode, shown in kinds:
        for value in values:
            for count in [1, 2, 64, 1000, 2**31, 2**63 - 1]:
                print(f"hash_bucket | {kind} | {shown(value)} | {count} | {xxhash.xxh3_64_intdigest(encode(value)) % count}")


# ---------------------------------------------------------------- dot, cosine

def nearest(exact):
    try:
        return float(exact)
    except OverflowError:
        return math.inf if exact > 0 else -math.inf


def products(a, b):
    return sum((Fraction(x) * Fraction(y) for x, y in zip(a, b)), Fraction(0))


def dot(a, b):
    return nearest(products(a, b))


def cosine(a, b):
    norms = products(a, a) * products(b, b)
    if norms == 0:
        return None
    # Scaled as the definition says: the root lies from 1 to 2.
    power = 0
    while norms >= 4:
        norms, power = norms / 4, power + 1
    while norms < 1:
        norms, power = norms * 4, power - 1
    root = float((Decimal(norms.numerator) / Decimal(norms.denominator)).sqrt())
    return max(-1.0, min(1.0, nearest(products(a, b) / Fraction(2) ** power) / root))


def vectors():
    def element(scale):
        return random.choice([random.uniform(-1, 1), random.gauss(0, 1), float(random.randint(-3, 3))]) * 10.0 ** random.randint(-scale, scale)

    pairs = [([], []), ([0.0], [1.0]), ([1.0], [1.0]), ([3.0, 4.0], [4.0, 3.0]), ([0.1] * 10, [0.1] * 10), ([1e16, 1.0, -1e16], [1.0] * 3)]
    pairs += [([5e-324], [5e-324]), ([1.7976931348623157e308] * 2, [1.7976931348623157e308, 1.0]), ([1e-200, 1e200], [1e200, 1e-200])]
    for scale in [0, 2, 20, 140]:
        for _ in range(60):
            length = random.randint(1, 12)
            a, b = [element(scale) for _ in range(length)], [element(scale) for _ in range(length)]
            pairs += [(a, b), (a, [2 * x for x in a])] if random.random() < 0.3 else [(a, b)]
    for a, b in pairs:
        shown = [" ".join(bits(x) for x in vector) for vector in (a, b)]
        print(f"dot | {shown[0]} | {shown[1]} | {bits(dot(a, b) + 0.0)}")
        value = cosine(a, b)
        print(f"cosine | {shown[0]} | {shown[1]} | {bits(value if value is None else value + 0.0)}")


print("# Made by make.py in this directory. Do not edit.")
buckets()
vectors()
