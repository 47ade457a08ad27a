"""Finds the weights in a checkpoint that also holds an optimiser state, averages or an epoch.

This module does not read files (`checkpoint_files` does) and does not need torch.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Mapping
from typing import Any

SEPARATOR = "/"  # joins keys of nested dictionaries; the keys of weights contain dots

# Keys under which scripts store trained weights, in the order of the search: the official
# repository, timm and Lightning, and other common ones.
_TRAINED = ("model", "state_dict", "model_state_dict", "model_state", "net", "network", "module")
_AVERAGED = re.compile(r"(^|[^a-z])(ema|swa|averaged?)([^a-z]|$)")
_NO_WEIGHTS = re.compile(r"optim|sched|scaler|callback|loop|criterion|loss|rng")
_DEPTH = 3


def find_state(
    content: Mapping, is_tensor: Callable[[Any], bool], source: str, key: str | None = None
) -> tuple[Mapping, list[str]]:
    """Chooses the state dict in a checkpoint.

    Args:
      content: content of the file: a state dict, or nested dictionaries with one or more of them.
      is_tensor: returns whether a value is a tensor.
      source: the file, for error messages.
      key: key of the state dict, with keys of nested dictionaries joined by "/"; or the prefix of
        the keys to take, without its last dot. By default the trained weights and not an average.

    Returns:
      The state dict, unchanged (it may also hold other values than tensors), and readable notes on
      what was chosen.

    Raises:
      ValueError: there is no such key, or there are several state dicts and none is the usual one.
    """
    states = _states(content, is_tensor)
    if key is not None:
        return _chosen(states, source, key)
    if "" in states or not states:
        # No wrapper; or a wrapper without a state dict, for an error that names its content.
        wrapped = next((content[n] for n in _TRAINED if isinstance(content.get(n), Mapping)), None)
        return (content if "" in states or wrapped is None else wrapped), []
    name = _usual(list(states))
    if name is None:
        raise ValueError(
            f"{source}: holds several state dicts: {', '.join(states)}. Choose with "
            f"{_flag(next(iter(states)))}."
        )
    others = [other for other in states if other != name]
    note = f"took {name!r} of the file"
    if others:
        note += f", not {', '.join(map(repr, others))} ({_flag(others[0])})"
    return states[name], [note]


def _states(content: Mapping, is_tensor: Callable[[Any], bool]) -> dict[str, Mapping]:
    """Returns state dicts by their joined keys; "" is `content` itself."""
    found: dict[str, Mapping] = {}

    def visit(value: Mapping, path: tuple[str, ...]) -> None:
        if not all(isinstance(key, str) for key in value):
            return
        is_state = bool(value) and all(map(is_tensor, value.values()))
        if is_state and (not path or any("." in key for key in value)):
            found[SEPARATOR.join(path)] = value
        elif len(path) < _DEPTH:
            for key, inner in value.items():
                if isinstance(inner, Mapping) and not _NO_WEIGHTS.search(key.lower()):
                    visit(inner, (*path, key))

    visit(content, ())
    return found


def _usual(names: list[str]) -> str | None:
    """Returns the name of the default state dict; None if it is ambiguous."""
    trained = [name for name in names if not _AVERAGED.search(name.lower())]
    for known in _TRAINED:
        for name in trained:
            if name.split(SEPARATOR)[0] == known:
                return name
    if not trained:
        trained = names
    return trained[0] if len(trained) == 1 else None


def _chosen(states: Mapping[str, Mapping], source: str, key: str) -> tuple[Mapping, list[str]]:
    """Returns the state dict of a key, or the part of the default one with this prefix."""
    within = [name for name in states if name and (name + SEPARATOR).startswith(key + SEPARATOR)]
    if len(within) == 1:
        return states[within[0]], [f"took {within[0]!r} of the file"]
    usual = "" if "" in states else _usual(list(states))
    if not within and usual is not None:
        prefix = f"{key}."
        inner = {
            k.removeprefix(prefix): v for k, v in states[usual].items() if k.startswith(prefix)
        }
        if inner:
            where = f" in {usual!r}" if usual else ""
            return inner, [f"took the {len(inner)} keys with the prefix {prefix!r}{where}"]
    listed = ", ".join(within or [name for name in states if name])
    raise ValueError(
        f"{source}: --checkpoint_key={key} names no state dict in it, and no prefix of keys. "
        f"Found: {listed or 'a state dict without a wrapper'}."
    )


def _flag(key: str) -> str:
    return shlex.quote(f"--checkpoint_key={key}")


def prefixes_before(key: str, state: Mapping) -> list[str]:
    """Returns the prefixes before all occurrences of a key in a state dict; "" for no prefix."""
    return [k.removesuffix(key) for k in state if k == key or k.endswith(f".{key}")]


def without_prefix(state: Mapping, key: str) -> tuple[Mapping, list[str]]:
    """Removes the prefix, such as "module.", that every network's key has.

    Args:
      state: a state dict.
      key: a key of the network, without prefix.

    Returns:
      The entries whose keys had the prefix, under keys without it, and readable notes on what was
      done. If there is no prefix, or more than one, the state dict is returned unchanged.
    """
    prefixes = prefixes_before(key, state)
    if len(prefixes) != 1 or prefixes == [""]:
        return state, []
    (prefix,) = prefixes
    found = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
    note = f"removed the prefix {prefix!r}"
    if len(found) < len(state):
        note += f", left out {len(state) - len(found)} keys without it"
    return found, [note]
