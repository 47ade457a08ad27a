"""Which of TensorFlow's operations a network may be made of: those that compute, and no others.

TensorFlow has 1,900, and each version adds some, so neither list is complete for long. What decides
is what TensorFlow's own registry says of an operation:

- One with a state is allowed if it is in `_WITH_STATE`: variables, control flow, random numbers,
  tables in memory. Files, network, queues, Python and devices are among the others, and what a new
  version adds is refused until somebody has looked at it.
- One without a state computes its outputs from its inputs, and is allowed; but for those that read
  or write files all the same, or reach into the process. Their names are in `_REACHING_OUT`, whole
  families by what their names have in common.
- Of the families that read files, those that do not are allowed by their names, in `_IN_MEMORY`.
- One that is not registered is somebody's own, and unknown.

The saver's operations are judged by where they are, see `levit_tf.opening.saved_models`.
"""

from __future__ import annotations

import re

WRITING = frozenset({"MergeV2Checkpoints", "Save", "SaveSlices", "SaveV2"})
READING = frozenset({"Restore", "RestoreSlice", "RestoreV2"})

_WITH_STATE = re.compile(
    "|".join(
        (
            # Variables and what optimisers do to them.
            "(Assign|AssignAdd|AssignSub)VariableOp|ReadVariableOp|Var(Handle|IsInitialized)Op",
            "Variable(V2|Shape)?|TemporaryVariable|DestroyResourceOp|DisableCopyOnRead",
            "Resource(Sparse)?Apply[A-Z]\\w*|ResourceScatter[A-Z]\\w*|ResourceGather(Nd)?",
            "ResourceCountUpTo|ResourceStridedSliceAssign",
            # Control flow and functions.
            "Assert|Case|If|While|StatefulPartitionedCall",
            "Stack(V2)?|Stack(Close|Pop|Push)V2|TensorArray\\w*",
            # Random numbers.
            "Random(Crop|Gamma|Poisson|PoissonV2|Shuffle|StandardNormal|Uniform|UniformInt)",
            "Multinomial|NonDeterministicInts|(ParameterizedT|T)runcatedNormal|Rng(ReadAnd)?Skip",
            "SampleDistortedBoundingBox(V2)?|StatelessRandomGetAlg",
            "Stateful(RandomBinomial|StandardNormal(V2)?|TruncatedNormal|Uniform(FullInt|Int)?)",
            # Tables in memory, filled from tensors.
            "(Anonymous)?HashTable(V2)?|(Anonymous)?Mutable(Dense)?HashTable(OfTensors)?(V2)?",
            "InitializeTableV2|LookupTable(Export|Find|Import|Insert|Remove|Size)V2",
            # Arithmetic that is marked so for reasons of TensorFlow's.
            "CheckNumerics(V2)?|CudnnRNN(V2|V3)?|DeepCopy|DeviceIndex|Empty|GuaranteeConst",
            "IsTensorFloat32Enabled|Print|PrintV2|Timestamp",
        )
    )
)
# `tf.data` over tensors, of which a graph may be made that decodes pictures one by one.
_IN_MEMORY = re.compile(
    "(Batch|Concatenate|Filter|FlatMap|IgnoreErrors|Map|Options|ParallelBatch|ParallelMap|Prefetch"
    "|Range|Reduce|Repeat|Rewrite|Scan|Skip|Take|Tensor|TensorSlice|Zip)Dataset(V2)?"
    "|DatasetToSingleElement"
)
_REACHING_OUT = re.compile(
    "|".join(
        (
            # Files by their names.
            "\\w*(Dataset|Iterator|Reader)\\w*|ReadFile|MatchingFiles|ImmutableConst",
            "GenerateVocabRemapping|InitializeTableFromTextFile",
            "EncodeProto|DecodeProtoV2",  # a file that describes the message
            # What debuggers put in writes to any URL, file:// among them.
            "Debug(Identity|NanCount|NumericSummary)\\w*|Copy(Host)?",
            # The process: its end, its Python, functions by address, other machines, devices.
            "Abort|\\w*PyFunc\\w*|XlaCustomCall\\w*|XlaLaunch\\w*|\\w*(Tpu|TPU)\\w*|_\\w+",
            "Barrier\\w*|Queue\\w*|CopyToMesh\\w*",
        )
    )
)


def is_registered(operation: str) -> bool:
    """Whether TensorFlow has an operation of that name."""
    from tensorflow.python.framework import op_def_registry

    return op_def_registry.get(operation) is not None


def refusal(operation: str, attributes=None) -> str | None:
    """Why an operation is refused; None if it is allowed, or is one of the saver's.

    Args:
      operation: its name in the registry, such as "Conv2D".
      attributes: of the node, by name, as a `NodeDef` has them.
    """
    from tensorflow.python.framework import op_def_registry

    if operation in WRITING or operation in READING:
        return None
    definition = op_def_registry.get(operation)
    if definition is None:
        return f"{operation}, which TensorFlow has not"
    if _IN_MEMORY.fullmatch(operation):
        return None
    has_allowed_state = _WITH_STATE.fullmatch(operation) or not definition.is_stateful
    if not has_allowed_state or _REACHING_OUT.fullmatch(operation):
        return operation
    stream = attributes["output_stream"].s if operation == "PrintV2" and attributes else b""
    return "PrintV2 to a file" if stream.startswith(b"file:") else None
