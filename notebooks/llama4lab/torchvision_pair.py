"""Lets torchvision be imported beside a build of torch that it was not compiled for.

Where only the CPU build of torch and the default torchvision wheel can be had (torch 2.13.0+cpu beside
torchvision 0.28.0), torchvision's compiled extension cannot be loaded. torchvision passes over that in
silence, then fails because it describes two operators, nms and qnms, that the extension would have declared.
`transformers` reports this as "Could not import module 'Llama4ForConditionalGeneration'".

Declaring the two schemas is enough: the image processing of Llama 4 uses plain tensor operations only. The
operators themselves stay without an implementation.

course.py copies this file into .venv beside a .pth line that calls `install` whenever the interpreter
starts, so that `torchrun`, `transformers serve` and a notebook's own subprocesses have it as well. For that
reason it uses the standard library only, and does nothing until torchvision asks for the operators.
"""

import sys

# The module in which torchvision describes its operators: by then it has tried to load its extension.
_WATCHED_MODULE = "torchvision._meta_registrations"
_OPERATORS = ("nms", "qnms")
_SCHEMA = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"


def builds_differ(torch_version, torchvision_version):
    """Whether two versions name different builds, as "2.13.0+cpu" and "0.28.0" do."""
    return torch_version.partition("+")[2] != torchvision_version.partition("+")[2]


def installed_builds_differ():
    """Whether the installed torch and torchvision are different builds; False where one is not installed."""
    # Here and not above: it would triple the time in which every interpreter of .venv starts.
    from importlib.metadata import PackageNotFoundError, version

    try:
        return builds_differ(version("torch"), version("torchvision"))
    except PackageNotFoundError:
        return False


def declare_missing_operators():
    """Declare the schemas that torchvision's extension did not; return their names."""
    import torch

    # Builds may differ and still work together. Declaring an operator twice would be an error.
    missing = [name for name in _OPERATORS if not hasattr(torch.ops.torchvision, name)]
    for name in missing:
        torch.library.define(f"torchvision::{name}", _SCHEMA)
    return missing


class _OperatorDeclarer:
    """A finder that finds nothing: it only learns that torchvision is about to describe its operators."""

    @staticmethod
    def find_spec(name, path=None, target=None):
        if name == _WATCHED_MODULE and installed_builds_differ():
            declare_missing_operators()
        return None


def is_installed():
    """Whether `install` was called in this process, by the .pth line or by hand."""
    # By name, because the copy in .venv and the one in llama4lab are two modules.
    return any(getattr(finder, "__name__", "") == _OperatorDeclarer.__name__ for finder in sys.meta_path)


def install():
    """Make imports of torchvision in this process declare the operators that are missing."""
    if not is_installed():
        sys.meta_path.insert(0, _OperatorDeclarer)
