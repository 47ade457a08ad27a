"""Rewrites an ONNX LeViT so that it runs channels-first from beginning to end.

Keras computes channels-last and ONNX channels-first, so a converter inserts a Transpose wherever
attention splits a map into heads and merges it again, and writes hard-swish as four operators. The
rules in this module change that:

- q, k and v are split into heads directly after their convolutions, (batch, heads * n, height,
  width) -> (batch, heads, n, tokens);
- heads are merged the same way, by computing the transpose of the last product;
- pictures are transposed before they are normalised, because broadcasting over an innermost
  dimension of three values is slow;
- hard-swish becomes the single operator HardSwish.

The remaining transpositions swap the last two axes before a matrix product, which ONNX Runtime
includes in the product. Each rule defines where it applies; all other nodes are not changed.
"""

from __future__ import annotations

import numpy as np
import onnx_ir
from onnxscript.rewriter import MatchResult, RewritePass
from onnxscript.rewriter.pattern import RewriteRuleClassBase, RewriteRuleSet

_TO_LAST = [0, 2, 3, 1]  # (batch, channels, height, width) -> (batch, height, width, channels)
_TO_FIRST = [0, 3, 1, 2]  # the inverse of `_TO_LAST`
_SWAP_MIDDLE = [0, 2, 1, 3]  # (batch, tokens, heads, n) <-> (batch, heads, tokens, n)
_SWAP_LAST = [0, 1, 3, 2]  # (batch, heads, n, tokens) <-> (batch, heads, tokens, n)


def to_channels_first(model: onnx_ir.Model) -> None:
    """Applies the rules, in place.

    Args:
      model: a deploy graph written by tf2onnx (1.17), with a fixed batch size and inferred shapes.
    """
    passes = [
        [
            _NormalizeTransposed.rule(),
            _HardSwish.rule(),
            _SplitHeads.rule(_SWAP_MIDDLE),
            _SplitHeads.rule(_TO_LAST),
            _MeanOverMap.rule(),
        ],
        # These match the results of the rules before.
        [_MergeHeads.rule(_hard_swish), _MergeHeads.rule(_silu)],
    ]
    for rules in passes:
        # commute: the operands of Add and Mul may be in either order.
        RewritePass(RewriteRuleSet(rules, commute=True))(model)


class _NormalizeTransposed(RewriteRuleClassBase):
    """Transpose(pixels * scale + offset) -> Transpose(pixels) * scale + offset."""

    def pattern(self, op, pixels, scale, offset):
        return op.Transpose(pixels * scale + offset, perm=_TO_FIRST)

    def check(self, context, scale, offset, **_):
        found = [_constant(value) for value in (scale, offset)]
        return _applies(all(array is not None and array.ndim == 1 for array in found))

    def rewrite(self, op, pixels, scale, offset):
        # (channels,) -> (channels, 1, 1)
        by_channel = [
            op.Constant(value=onnx_ir.tensor(_constant(value)[:, None, None]))
            for value in (scale, offset)
        ]
        # Keep the names, which identify the layer.
        scaled = op.Mul(op.Transpose(pixels, perm=_TO_FIRST), by_channel[0], _name=scale.name)
        return op.Add(scaled, by_channel[1], _name=offset.name)


class _HardSwish(RewriteRuleClassBase):
    """x * clip(x + 3, 0, 6) / 6, the form that Keras writes -> HardSwish(x)."""

    def pattern(self, op, x, three, low, high, sixth):
        return x * (op.Clip(x + three, low, high) * sixth)

    def check(self, context, three, low, high, sixth, **_):
        expected = ((three, 3), (low, 0), (high, 6), (sixth, 1 / 6))
        return _applies(all(_is_scalar(value, number) for value, number in expected))

    def rewrite(self, op, x, **_):
        return op.HardSwish(x)


class _MeanOverMap(RewriteRuleClassBase):
    """Mean over height and width in channels-last, which tf2onnx writes from opset 18 on."""

    def pattern(self, op, x, axes):
        return op.ReduceMean(op.Transpose(x, perm=_TO_LAST), axes, keepdims=0)

    def check(self, context, axes, **_):
        found = _constant(axes)
        return _applies(found is not None and found.tolist() == [1, 2])

    def rewrite(self, op, x, **_):
        return op.ReduceMean(x, op.Constant(value_ints=[2, 3]), keepdims=0)


class _SplitHeads(RewriteRuleClassBase):
    """Splitting a map into heads in channels-last -> the same in channels-first.

    Args:
      order: permutation of (batch, tokens, heads, n): `_SWAP_MIDDLE` to (batch, heads, tokens, n)
        for queries and values, `_TO_LAST` to (batch, heads, n, tokens) for keys.
    """

    def __init__(self, order: list[int]):
        super().__init__(f"split_heads_{order}")
        self._order = order

    def pattern(self, op, x, shape):
        tokens = op.Reshape(op.Transpose(x, perm=_TO_LAST), shape)
        return op.Transpose(tokens, perm=self._order)

    def check(self, context, x, shape, **_):
        found = _constant(shape)
        if x.shape is None or found is None or len(found) != 4:
            return _applies(False)
        _, channels, height, width = x.shape
        _, tokens, heads, n = found
        return _applies(tokens == height * width and heads * n == channels)

    def rewrite(self, op, x, shape):
        batch, tokens, heads, n = _constant(shape)
        # (batch, heads * n, height, width) -> (batch, heads, n, tokens)
        y = _reshape(op, x, (batch, heads, n, tokens))
        return op.Transpose(y, perm=_SWAP_LAST) if self._order == _SWAP_MIDDLE else y


class _MergeHeads(RewriteRuleClassBase):
    """weights v with heads merged channels-last -> v^T weights^T with heads merged channels-first.

    Args:
      activation: function from (op, x) to the pattern of the activation between merging and
        projection.
    """

    def __init__(self, activation):
        super().__init__(f"merge_heads{activation.__name__}")
        self._activation = activation

    def pattern(self, op, weights, v, shape):
        product = op.MatMul(weights, op.Transpose(v, perm=_SWAP_LAST))
        merged = op.Reshape(op.Transpose(product, perm=_SWAP_MIDDLE), shape)
        return op.Transpose(self._activation(op, merged), perm=_TO_FIRST)

    def check(self, context, weights, shape, **_):
        found = _constant(shape)
        if weights.shape is None or found is None or len(found) != 4:
            return _applies(False)
        return _applies(found[1] * found[2] == weights.shape[2])

    def rewrite(self, op, weights, v, shape):
        batch, height, width, channels = _constant(shape)
        product = op.MatMul(v, op.Transpose(weights, perm=_SWAP_LAST))
        # (batch, heads, n, tokens) -> (batch, heads * n, height, width)
        return self._activation(op, _reshape(op, product, (batch, channels, height, width)))


def _hard_swish(op, x):
    return op.HardSwish(x)


def _silu(op, x):
    return op.Mul(x, op.Sigmoid(x))


def _reshape(op, x: onnx_ir.Value, shape: tuple[int, ...]) -> onnx_ir.Value:
    return op.Reshape(x, op.Constant(value_ints=[int(side) for side in shape]))


def _constant(value: onnx_ir.Value) -> np.ndarray | None:
    return None if value.const_value is None else value.const_value.numpy()


def _is_scalar(value: onnx_ir.Value, number: float) -> bool:
    array = _constant(value)
    return array is not None and array.size == 1 and bool(np.isclose(array.item(), number))


def _applies(condition: bool) -> MatchResult:
    result = MatchResult()
    return result if condition else result.fail("the rule does not apply")
