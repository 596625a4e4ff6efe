"""The columns that all parts of an output have in common.

The first part says what they are called and of which types; where it has missing values alone, or
empty lists, the first that has others says it.
"""

from collections.abc import Sequence

import pyarrow as pa


def unified(schemas: Sequence[pa.Schema]) -> pa.Schema:
    """The columns of the first, each with the type of the first that has one for it.

    Raises:
        ValueError: others are called otherwise.
    """
    first, *others = schemas
    fields = {field.name: field.type for field in first}
    for schema in others:
        if set(schema.names) != set(fields):
            raise ValueError(f"{schema.names} instead of {first.names}")
        for field in schema:
            fields[field.name] = _type(fields[field.name], field.type)
    return pa.schema(fields.items())


def as_schema(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """A table with these columns, in this order.

    Raises:
        pyarrow.ArrowInvalid, pyarrow.ArrowNotImplementedError: a value is none of the type.
    """
    return table.select(schema.names).cast(schema)


def says_less(schema: pa.Schema, than: pa.Schema) -> bool:
    """Whether types are missing in it that the other has."""
    return any(
        _is_open(field.type) and field.type != than.field(field.name).type for field in schema
    )


def _is_open(kind: pa.DataType) -> bool:
    return bool(pa.types.is_null(kind) or (_is_list(kind) and _is_open(kind.value_type)))


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind))


def _type(known: pa.DataType, other: pa.DataType) -> pa.DataType:
    if pa.types.is_null(known):
        return other
    if _is_list(known) and _is_list(other) and _is_open(known.value_type):
        inner = _type(known.value_type, other.value_type)
        size = known.list_size if pa.types.is_fixed_size_list(known) else -1
        return pa.list_(inner, size)
    return known
