"""The TensorFlow operations that a network may contain: only those that compute.

TensorFlow has 1,900 operations, and each version adds some, so a complete list would soon be out of
date. The decision uses what TensorFlow's own registry says about an operation:

- A stateful operation is allowed only if it is in `_WITH_STATE`: variables, control flow, random
  numbers, tables in memory. All others are refused: files, network, queues, Python, devices, and
  everything that a new version adds, until somebody has reviewed it.
- A stateless operation computes its outputs from its inputs and is allowed, except those that
  still read or write files or affect the process. Their names are in `_REACHING_OUT`, with one
  pattern for each family of names.
- Members of these families that do not access files are allowed by name, in `_IN_MEMORY`.
- An operation that is not registered is a custom operation; its effect is unknown.

Operations that save and restore variables are allowed or refused by their place in the graph, see
`levit_tf.opening.saved_models`.
"""

from __future__ import annotations

import re

WRITING = frozenset({"MergeV2Checkpoints", "Save", "SaveSlices", "SaveV2"})
READING = frozenset({"Restore", "RestoreSlice", "RestoreV2"})

_WITH_STATE = re.compile(
    "|".join(
        (
            # Variables and their updates by optimisers.
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
            # Arithmetic that TensorFlow marks as stateful for internal reasons.
            "CheckNumerics(V2)?|CudnnRNN(V2|V3)?|DeepCopy|DeviceIndex|Empty|GuaranteeConst",
            "IsTensorFloat32Enabled|Print|PrintV2|Timestamp",
        )
    )
)
# `tf.data` over tensors, which a graph may use to decode pictures one by one.
_IN_MEMORY = re.compile(
    "(Batch|Concatenate|Filter|FlatMap|IgnoreErrors|Map|Options|ParallelBatch|ParallelMap|Prefetch"
    "|Range|Reduce|Repeat|Rewrite|Scan|Skip|Take|Tensor|TensorSlice|Zip)Dataset(V2)?"
    "|DatasetToSingleElement"
)
_REACHING_OUT = re.compile(
    "|".join(
        (
            # Access to files by name.
            "\\w*(Dataset|Iterator|Reader)\\w*|ReadFile|MatchingFiles|ImmutableConst",
            "GenerateVocabRemapping|InitializeTableFromTextFile",
            "EncodeProto|DecodeProtoV2",  # a file that describes the message
            # Debugging operations, which write to any URL, including file://.
            "Debug(Identity|NanCount|NumericSummary)\\w*|Copy(Host)?",
            # Aborting the process, calling Python or functions by address, other machines, devices.
            "Abort|\\w*PyFunc\\w*|XlaCustomCall\\w*|XlaLaunch\\w*|\\w*(Tpu|TPU)\\w*|_\\w+",
            "Barrier\\w*|Queue\\w*|CopyToMesh\\w*",
        )
    )
)


def is_registered(operation: str) -> bool:
    """Returns whether TensorFlow has an operation of this name."""
    from tensorflow.python.framework import op_def_registry

    return op_def_registry.get(operation) is not None


def refusal(operation: str, attributes=None) -> str | None:
    """Returns why an operation is refused; None if it is allowed, or saves or restores variables.

    Args:
      operation: name of the operation in the registry, such as "Conv2D".
      attributes: attributes of the node by name, as in a `NodeDef`.
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
