"""Makes protobuf message classes from a table, where no installed package has them.

Each table has its own descriptor pool, so that a program may also import the official classes.
"""

from __future__ import annotations

from collections.abc import Mapping

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_Field = descriptor_pb2.FieldDescriptorProto

# From message to field to (number, type). A type is a scalar, a message of the table, "[type]" for
# a repeated field, or "{type}" for a map with string keys.
Table = Mapping[str, Mapping[str, tuple[int, str]]]


def message_classes(table: Table, package: str) -> dict[str, type]:
    """Makes the classes of a table.

    Args:
      table: all messages, including those used in fields.
      package: package for all of them; names do not affect the encoding. Dots in the messages' own
        names become underscores.

    Returns:
      The classes, by their names in the table.
    """
    pool = descriptor_pool.DescriptorPool()
    file = descriptor_pb2.FileDescriptorProto(
        name=f"{package}.proto", package=package, syntax="proto3"
    )
    names = {name: name.replace(".", "_") for name in table}
    types = {name: f".{package}.{flat}" for name, flat in names.items()}
    for name, fields in table.items():
        message = file.message_type.add(name=names[name])
        for field, (number, kind) in fields.items():
            _add_field(message, types[name], field, number, kind, types)
    pool.Add(file)
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(full[1:]))
        for name, full in types.items()
    }


def _add_field(
    message: descriptor_pb2.DescriptorProto,
    scope: str,
    name: str,
    number: int,
    kind: str,
    types: Mapping[str, str],
) -> None:
    field = message.field.add(name=name, number=number, label=_Field.LABEL_OPTIONAL)
    if kind[0] in "[{":
        field.label = _Field.LABEL_REPEATED
    if kind[0] == "{":
        entry = message.nested_type.add(name=f"{name.title().replace('_', '')}Entry")
        entry.options.map_entry = True
        full = f"{scope}.{entry.name}"
        _add_field(entry, full, "key", 1, "string", types)
        _add_field(entry, full, "value", 2, kind[1:-1], types)
        field.type, field.type_name = _Field.TYPE_MESSAGE, full
        return
    kind = kind.strip("[]")
    if kind in types:
        field.type, field.type_name = _Field.TYPE_MESSAGE, types[kind]
    else:
        field.type = _Field.Type.Value(f"TYPE_{kind.upper()}")
