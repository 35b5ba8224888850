"""Answers in plain Python, so that a right one counts in every form: NumPy, torch, tuples for lists."""

import math
import reprlib
from collections.abc import Iterator

import numpy as np
import torch


class Array(list):
    """A list that was a tensor or an array: its shape counts."""


class Values(list):
    """A list that was a tuple: its length counts."""


def plain(value: object) -> object:
    """The value in Python's own types: scalars of NumPy and torch as numbers, arrays, tensors and tuples as lists."""
    if isinstance(value, torch.Tensor):
        value = value.detach()
    if isinstance(value, torch.Tensor | np.ndarray | np.generic):
        entries = value.tolist()
        return Array(entries) if isinstance(entries, list) else entries
    if isinstance(value, tuple):
        return Values(map(plain, value))
    if isinstance(value, list | range | Iterator):
        return [plain(entry) for entry in value]
    if isinstance(value, dict):
        return {plain(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, set | frozenset):
        return {plain(entry) for entry in value}
    return value


def is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def same(value: object, other: object, tolerance: float = 0.0) -> bool:
    """Whether two plain values are equal; where `other` is a float, up to a relative tolerance.

    An `...` in `other` equals everything; True is not 1; a list equals a set with its entries; errors are equal by type.
    """
    if other is ...:
        return True
    if is_number(value) and isinstance(other, float):
        both_undefined = math.isnan(value) and math.isnan(other)
        return both_undefined or math.isclose(value, other, rel_tol=tolerance, abs_tol=tolerance / 100)
    if isinstance(value, list) and isinstance(other, list):
        return len(value) == len(other) and all(same(a, b, tolerance) for a, b in zip(value, other, strict=True))
    if isinstance(value, list) and isinstance(other, set):
        return {repr(entry) for entry in value} == {repr(entry) for entry in other}
    if isinstance(value, dict) and isinstance(other, dict):
        return value.keys() == other.keys() and all(same(value[key], other[key], tolerance) for key in other)
    if isinstance(other, Exception):
        return type(value) is type(other)
    return isinstance(value, bool) == isinstance(other, bool) and value == other


def first_difference(value: object, other: object, tolerance: float) -> tuple[list[int], object, object] | None:
    """The first place at which two nested lists of one shape differ, and both entries there; None where none does."""
    if not isinstance(other, list):
        return None if same(value, other, tolerance) else ([], value, other)
    for place, (a, b) in enumerate(zip(value, other, strict=True)):
        if different := first_difference(a, b, tolerance):
            return [place, *different[0]], *different[1:]
    return None


def shape(value: object) -> list[int]:
    """The lengths of nested lists, as far as all lists of a level are of one length."""
    if not isinstance(value, list):
        return []
    inner = [shape(entry) for entry in value]
    return [len(value), *(inner[0] if inner and all(entry == inner[0] for entry in inner) else [])]


def kind(value: object) -> str:
    """What an answer of this form is called in a sentence."""
    if isinstance(value, Array):
        return f"a tensor or an array of shape {shape(value)}"
    if isinstance(value, Values):
        return f"{len(value)} values ({', '.join(map(kind, value))})"
    if isinstance(value, dict):
        return f"a dictionary with the keys {', '.join(map(repr, value))}"
    names = {
        bool: "True or False",
        int: "a whole number",
        float: "a number",
        str: "a text",
        list: "a list",
        set: "a set",
    }
    return repr(value) if value is None or value == math.inf else names[type(value)]


def leaf(value: object) -> object:
    """The first entry of nested lists that is no list."""
    while isinstance(value, list) and value:
        value = value[0]
    return value


def has_form(value: object, right: object) -> bool:
    """Whether a plain value is of the form of the right one: its type, and its shape or length where that counts."""
    if isinstance(right, Array):
        return isinstance(value, list) and shape(value) == shape(right) and has_form(leaf(value), leaf(right))
    if isinstance(right, Values):
        if not isinstance(value, list) or len(value) != len(right):
            return False
        return all(has_form(a, b) for a, b in zip(value, right, strict=True) if isinstance(b, Array) or is_number(b))
    if isinstance(right, dict):
        return isinstance(value, dict) and right.keys() <= value.keys()
    if isinstance(right, set):
        return isinstance(value, set | list)
    if right is None or right == math.inf:
        return value == right
    if isinstance(right, float):
        return is_number(value)
    return isinstance(value, type(right)) and isinstance(value, bool) == isinstance(right, bool)


def shown(value: object) -> str:
    """A value as a sentence shows it: short, numbers with separators."""
    if is_number(value):
        return f"{value:,.0f}" if value == value // 1 else f"{value:.6g}"
    short = reprlib.Repr()
    short.maxlist, short.maxstring, short.maxother = 8, 80, 80
    return short.repr(list(value) if isinstance(value, list) else value)
