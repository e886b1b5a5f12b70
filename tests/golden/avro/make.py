"""Writes records.txt: records in single-object encoding as fastavro writes them, and the rows that they are.

Run with fastavro 1.13 as `python make.py > records.txt`; the first line is the schema, each other one a record in hexadecimal and its row.
"""

import io
import json
import struct
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from uuid import UUID

import fastavro
from fastavro.schema import fingerprint, to_parsing_canonical_form

SCHEMA = {
    "type": "record",
    "name": "Everything",
    "namespace": "golden",
    "doc": "a field of each kind",
    "fields": [
        {"name": "id", "type": "long"},
        {"name": "small", "type": "int"},
        {"name": "truth", "type": "boolean"},
        {"name": "single", "type": "float"},
        {"name": "double", "type": ["null", "double"], "default": None},
        {"name": "text", "type": ["string", "null"]},
        {"name": "raw", "type": "bytes"},
        {"name": "uuid", "type": {"type": "string", "logicalType": "uuid"}},
        {"name": "state", "type": {"type": "enum", "name": "State", "symbols": ["OPEN", "SHUT"]}},
        {"name": "before", "type": ["null", "State"]},
        {"name": "day", "type": {"type": "int", "logicalType": "date"}},
        {"name": "millis", "type": {"type": "long", "logicalType": "timestamp-millis"}},
        {"name": "micros", "type": {"type": "long", "logicalType": "timestamp-micros"}},
        {"name": "local", "type": {"type": "long", "logicalType": "local-timestamp-micros"}},
        {"name": "amount", "type": {"type": "bytes", "logicalType": "decimal", "precision": 12, "scale": 3}},
        {"name": "fixed", "type": {"type": "fixed", "name": "Fixed", "size": 6, "logicalType": "decimal", "precision": 12, "scale": 2}},
        {"name": "list", "type": {"type": "array", "items": ["null", "long"]}},
        {"name": "map", "type": {"type": "map", "values": "double"}},
        {"name": "inner", "type": {"type": "record", "name": "Inner", "fields": [{"name": "x", "type": "State"}]}},
        {"name": "any", "type": ["null", "int", "string"]},
    ],
}
SHOWN = [field["name"] for field in SCHEMA["fields"] if field["name"] not in ("map", "inner", "any")]


def row(number):
    moment = datetime(2024, 2, 29, 12, 30, tzinfo=timezone.utc) + timedelta(days=number * 31, microseconds=number * 1001)
    return {
        "id": (-1) ** number * 3**number,
        "small": [0, -1, 63, 64, -64, -65, 2**31 - 1, -(2**31)][number % 8],
        "truth": number % 2 == 0,
        "single": struct.unpack("<f", struct.pack("<f", number / 3))[0],
        "double": None if number % 3 == 0 else number / 7,
        "text": None if number % 4 == 1 else "é" * (number % 5),
        "raw": bytes(range(number % 4)),
        "uuid": str(UUID(int=number * 0x1234567890ABCDEF)),
        "state": "OPEN" if number % 2 else "SHUT",
        "before": None if number % 3 else "SHUT",
        "day": date(1969, 12, 31) + timedelta(days=number * 400),
        "millis": moment.replace(microsecond=moment.microsecond // 1000 * 1000),
        "micros": moment,
        "local": moment.replace(tzinfo=None),
        "amount": Decimal((-7) ** number % 10**11 - 5 * 10**10).scaleb(-3),
        "fixed": Decimal(number * 1001 - 5000).scaleb(-2),
        "list": [None if item % 3 == 2 else item * number for item in range(number % 5)],
        "map": {"a": 1.5, "b": float(number)},
        "inner": {"x": "OPEN"},
        "any": [None, number, "text"][number % 3],
    }


def shown(name, value):
    if value is None:
        return "NULL"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, datetime):
        fraction = f".{value.microsecond:06d}"
        fraction = "" if value.microsecond == 0 else fraction[:4] if value.microsecond % 1000 == 0 else fraction
        return value.strftime("%Y-%m-%dT%H:%M:%S") + fraction
    if isinstance(value, list):
        return "[" + ", ".join(shown(name, item) for item in value) + "]"
    if isinstance(value, Decimal):
        return f"{value:f}"
    return str(value)


def main():
    schema = fastavro.parse_schema(SCHEMA)
    print(json.dumps(SCHEMA, separators=(",", ":")))
    prefix = b"\xc3\x01" + bytes.fromhex(fingerprint(to_parsing_canonical_form(schema), "CRC-64-AVRO"))
    for number in range(24):
        body = io.BytesIO()
        fastavro.schemaless_writer(body, schema, row(number))
        print((prefix + body.getvalue()).hex(), " | ".join(shown(name, row(number)[name]) for name in SHOWN), sep="\t")


main()
