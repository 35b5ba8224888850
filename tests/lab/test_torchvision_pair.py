"""torchvision imports, and reads and decodes pictures, beside a torch of another build, in every process."""

import subprocess
import sys

import pytest
from PIL import Image

from llama4lab import torchvision_pair

# What this environment installed when Python started may be of an older course.
PROGRAM = """
import sys
sys.meta_path = [finder for finder in sys.meta_path if getattr(finder, "__name__", "") != "_OperatorDeclarer"]
from llama4lab import torchvision_pair
torchvision_pair.install()

import torch
from PIL import Image, ImageOps
from torchvision.io import ImageReadMode, decode_image, read_file
from torchvision.transforms.functional import pil_to_tensor

path = sys.argv[1]
upright = ImageOps.exif_transpose(Image.open(path))
for picture in (path, read_file(path)):
    for mode, name in ((ImageReadMode.RGB, "RGB"), (ImageReadMode.RGBA, "RGBA"), (ImageReadMode.GRAY, "L")):
        pixels = decode_image(picture, mode=mode, apply_exif_orientation=True)
        expected = pil_to_tensor(upright.convert(name))
        assert pixels.shape == expected.shape and (pixels.int() - expected.int()).abs().max() <= 1, name
assert torch.equal(decode_image(path), pil_to_tensor(Image.open(path)))
"""


def test_pictures_decode_as_pillow_decodes_them(tmp_path):
    picture = Image.linear_gradient("L").resize((8, 4)).convert("RGBA")
    picture.putpixel((0, 0), (200, 100, 50, 0))
    turned = Image.Exif()
    turned[0x0112] = 6  # orientation: turn by 90 degrees
    picture.save(tmp_path / "turned.png", exif=turned)
    run = subprocess.run([sys.executable, "-c", PROGRAM, tmp_path / "turned.png"], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr


@pytest.mark.parametrize(
    ("torch_version", "torchvision_version", "differ"),
    [
        ("2.13.0+cpu", "0.28.0", True),
        ("2.13.0+cpu", "0.28.0+cu130", True),
        ("2.13.0", "0.28.0", False),
        ("2.13.0+cpu", "0.28.0+cpu", False),
    ],
)
def test_builds_differ(torch_version, torchvision_version, differ):
    assert torchvision_pair.builds_differ(torch_version, torchvision_version) is differ


@pytest.mark.parametrize(
    ("module", "differ", "acts"),
    [
        ("torchvision._meta_registrations", True, True),
        ("torchvision._meta_registrations", False, False),
        ("torchvision", True, False),
    ],
)
def test_operators_are_declared_only_when_torchvision_lacks_them(monkeypatch, module, differ, acts):
    calls = []
    monkeypatch.setattr(torchvision_pair, "installed_builds_differ", lambda: differ)
    monkeypatch.setattr(torchvision_pair, "declare_missing_operators", lambda: calls.append(module))
    monkeypatch.setattr(sys, "meta_path", [])
    torchvision_pair.install()
    torchvision_pair.install()
    (finder,) = sys.meta_path
    assert finder.find_spec(module) is None and calls == ([module] if acts else [])


def test_image_classes_load_in_any_process_of_the_environment(tmp_path):
    program = """
import sys
assert "torch" not in sys.modules, "torch is imported when Python starts"
import torchvision
from transformers import Llama4ForConditionalGeneration, Llama4ImageProcessor
import torch
print(hasattr(torch.ops.torchvision, "nms"), hasattr(torch.ops.torchvision, "qnms"))
"""
    run = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert run.stdout.split() == ["True", "True"]
