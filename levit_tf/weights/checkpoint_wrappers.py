"""Finds the weights in what training scripts save: beside an optimiser, an average, an epoch.

Nothing is read here: `checkpoint_files` has done that. No torch in here.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Mapping
from typing import Any

SEPARATOR = "/"  # between keys of nested dictionaries, since those of weights have dots

# Where scripts put the weights that they trained, in the order in which they are looked for:
# the official repository, timm and Lightning, and what else is common.
_TRAINED = ("model", "state_dict", "model_state_dict", "model_state", "net", "network", "module")
_AVERAGED = re.compile(r"(^|[^a-z])(ema|swa|averaged?)([^a-z]|$)")
_NO_WEIGHTS = re.compile(r"optim|sched|scaler|callback|loop|criterion|loss|rng")
_DEPTH = 3


def find_state(
    content: Mapping, is_tensor: Callable[[Any], bool], source: str, key: str | None = None
) -> tuple[Mapping, list[str]]:
    """Chooses the state dict in a checkpoint.

    Args:
      content: of the file: a state dict, or one of several in nested dictionaries.
      is_tensor: tells the values of state dicts.
      source: the file, for errors.
      key: which one, keys of nested dictionaries being joined by "/"; or the prefix, without its
        last dot, of the keys to take. By default what was trained, rather than an average of it.

    Returns:
      The state dict, as it is (it may hold other values than tensors), and what was chosen, in
      words for people.

    Raises:
      ValueError: there is no such key, or several state dicts of which none is the usual one.
    """
    states = _states(content, is_tensor)
    if key is not None:
        return _chosen(states, source, key)
    if "" in states or not states:
        # No wrapper; or, for an error that names what is in there, a wrapper around no state dict.
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
    """State dicts by their place; the one at "" is `content` itself."""
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
    """The state dict that is meant where nobody says; None if that is anybody's guess."""
    trained = [name for name in names if not _AVERAGED.search(name.lower())]
    for known in _TRAINED:
        for name in trained:
            if name.split(SEPARATOR)[0] == known:
                return name
    if not trained:
        trained = names
    return trained[0] if len(trained) == 1 else None


def _chosen(states: Mapping[str, Mapping], source: str, key: str) -> tuple[Mapping, list[str]]:
    """The state dict that a key names, or those keys of the usual one that begin with it."""
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
    """What stands before a key, wherever it is in a state dict: "" where it stands alone."""
    return [k.removesuffix(key) for k in state if k == key or k.endswith(f".{key}")]


def without_prefix(state: Mapping, key: str) -> tuple[Mapping, list[str]]:
    """Removes the prefix, such as "module.", that every network's key has.

    Args:
      state: a state dict.
      key: one that the network has.

    Returns:
      The keys with the prefix, without it, and what was done, in words for people. Where there is
      no prefix, or more than one, the state dict as it is.
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
