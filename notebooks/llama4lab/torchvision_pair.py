"""Lets torchvision be imported beside a build of torch that it was not compiled for.

Where only the CPU build of torch and the default torchvision wheel can be had (torch 2.13.0+cpu beside
torchvision 0.28.0), torchvision's compiled extension cannot be loaded. torchvision passes over that in
silence, then fails because it describes two operators, nms and qnms, that the extension would have declared.
`transformers` reports this as "Could not import module 'Llama4ForConditionalGeneration'".

Declaring the two schemas is enough: the image processing of Llama 4 uses plain tensor operations only. The
operators themselves stay without an implementation. The extension that decodes pictures cannot be loaded either;
Pillow takes its place, so that a processor accepts a path, a URL or base64.

The course's own installation (pyproject.toml) brings torchvision_pair.pth, whose line calls `install` whenever
the interpreter starts, so that `torchrun`, `transformers serve` and a notebook's own subprocesses have it as well.
For that reason this file uses the standard library only, and does nothing until torchvision asks for the operators.
"""

import sys

# The module in which torchvision describes its operators: by then it has tried to load its extension.
_WATCHED_MODULE = "torchvision._meta_registrations"
_OPERATORS = ("nms", "qnms")
_SCHEMA = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
_PILLOW_MODES = (None, "L", "LA", "RGB", "RGBA")  # in the order of torchvision.io.ImageReadMode


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
    """Declare the schemas that torchvision's extension did not, and those of its decoder; return the former's names."""
    import torch

    decode_pictures_with_pillow()

    # Builds may differ and still work together. Declaring an operator twice would be an error.
    missing = [name for name in _OPERATORS if not hasattr(torch.ops.torchvision, name)]
    for name in missing:
        torch.library.define(f"torchvision::{name}", _SCHEMA)
    return missing


def _read_file(path):
    import torch

    with open(path, "rb") as stream:
        return torch.frombuffer(bytearray(stream.read()), dtype=torch.uint8)


def _decode_image(data, mode, apply_exif_orientation):
    """A picture's bytes, uint8 `[bytes]`, as pixels, uint8 `[channels, height, width]`."""
    import io

    import numpy
    import torch
    from PIL import Image, ImageOps

    picture = Image.open(io.BytesIO(bytes(data.numpy())))
    if apply_exif_orientation:
        picture = ImageOps.exif_transpose(picture)
    if _PILLOW_MODES[mode]:
        picture = picture.convert(_PILLOW_MODES[mode])
    pixels = torch.from_numpy(numpy.array(picture))
    return pixels.reshape(picture.height, picture.width, -1).permute(2, 0, 1).contiguous()


_PILLOW_OPERATORS = {
    "read_file": ("(str path) -> Tensor", _read_file),
    "decode_image": ("(Tensor data, int mode, bool apply_exif_orientation) -> Tensor", _decode_image),
}


def decode_pictures_with_pillow():
    """Let torchvision read and decode pictures with Pillow where its own extension cannot be loaded."""
    import torch
    from torchvision import extension

    load_library = extension._load_library

    def load_or_register(name):
        if load_library(name):
            return True
        if name != "image":
            return False
        for operator, (schema, function) in _PILLOW_OPERATORS.items():
            torch.library.define(f"image::{operator}", schema)
            torch.library.impl(f"image::{operator}", "CompositeExplicitAutograd", function)
        return True

    extension._load_library = load_or_register


class _OperatorDeclarer:
    """A finder that finds nothing: it only learns that torchvision is about to describe its operators."""

    @staticmethod
    def find_spec(name, path=None, target=None):
        if name == _WATCHED_MODULE and installed_builds_differ():
            declare_missing_operators()
        return None


def is_installed():
    """Whether `install` was called in this process, by the .pth line or by hand."""
    return any(getattr(finder, "__name__", "") == _OperatorDeclarer.__name__ for finder in sys.meta_path)


def install():
    """Make imports of torchvision in this process declare the operators that are missing."""
    if not is_installed():
        sys.meta_path.insert(0, _OperatorDeclarer)
