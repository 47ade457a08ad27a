"""Assigns XNNPACK's kernels to the ops of a TFLite file.

XNNPACK names its kernels by their kind and runs those of a partition in the order of the ops, but
not one per op: padding becomes part of a convolution, a 1x1 convolution is "Fully Connected", an
operand is converted in between. So the two sequences are aligned; a kernel without an op of its
kind counts for the next op with one.
"""

from __future__ import annotations

import difflib

from converters.reporting.litert_profiler import KernelTime
from converters.reporting.report_graph import TFLiteFile

# Kind -> beginnings of XNNPACK's kernel names, and names of ops in TFLite.
_FAMILIES = {
    "linear": ("Convolution", "Fully Connected", "CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"),
    "product": ("Batch Matrix Multiply", "BATCH_MATMUL"),
    "elementwise": ("Add", "Multiply", "Subtract", "Divide", "ADD", "MUL", "SUB", "DIV"),
    # XNNPACK calls an activation by look-up table, with its conversions, "Invalid Unary Op".
    "activation": ("HardSwish", "Sigmoid", "Invalid Unary Op", "HARD_SWISH", "LOGISTIC"),
    "softmax": ("Softmax", "SOFTMAX"),
    "layout": ("Static Reshape", "Copy", "RESHAPE", "EXPAND_DIMS", "SQUEEZE"),
    "transpose": ("Transpose", "TRANSPOSE"),
    "padding": ("Constant Pad", "PAD"),
    "conversion": ("Convert", "QUANTIZE", "DEQUANTIZE", "CAST"),
    "mean": ("Mean", "Static Mean", "Static Reduce", "MEAN"),
}


def time_by_op(file: TFLiteFile, kernels: list[KernelTime]) -> dict[int, float] | None:
    """Returns milliseconds by index of the op, without ops that became part of others.

    Args:
      file: the file.
      kernels: its times, see `converters.reporting.litert_profiler.profile`.

    Returns:
      The times; None if the kernels are from another number of partitions than the file has.
    """
    times: dict[int, float] = {}
    partitions: list[list[KernelTime]] = []
    for kernel in kernels:
        if kernel.op is not None:
            times[kernel.op] = times.get(kernel.op, 0.0) + kernel.milliseconds
        elif kernel.position == 0:
            partitions.append([kernel])
        else:
            partitions[-1].append(kernel)
    if len(partitions) != file.partitions:
        return None
    for number, partition in enumerate(partitions):
        members = [n for n, op in enumerate(file.ops) if op.partition == number]
        for n, milliseconds in _align(file, members, partition):
            times[n] = times.get(n, 0.0) + milliseconds
    return times


def _align(file: TFLiteFile, members: list[int], kernels: list[KernelTime]):
    """Yields (index of the op, milliseconds) for each kernel of a partition."""
    matcher = difflib.SequenceMatcher(
        None,
        [_family(kernel.name) for kernel in kernels],
        [_family(file.ops[n].kind) for n in members],
        autojunk=False,
    )
    op_of = {
        block.a + n: members[block.b + n]
        for block in matcher.get_matching_blocks()
        for n in range(block.size)
    }
    following = members[-1]
    for n in reversed(range(len(kernels))):
        following = op_of.get(n, following)
        yield following, kernels[n].milliseconds


def _family(name: str) -> str:
    for family, names in _FAMILIES.items():
        if name in names or name.startswith(tuple(f"{known} (" for known in names)):
            return family
    return name
