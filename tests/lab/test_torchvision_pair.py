"""torchvision imports, and reads and decodes pictures, beside a torch of another build, in every process."""

import base64
import subprocess
import sys
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest
import torch
from PIL import Image

from llama4lab import torchvision_pair
from llama4lab.assets import ASSETS
from llama4lab.checkpoints import load_checkpoint

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


class Silent(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


def test_processor_takes_a_picture_by_path_url_and_base64(monkeypatch):
    """Also where torch and torchvision are of different builds, where torchvision alone cannot decode."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    folder = ASSETS / "samples/pictures"
    encoded = base64.b64encode((folder / "00.png").read_bytes()).decode("ascii")
    processor = load_checkpoint("scout-proxy")[0]
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Silent, directory=folder)) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_address[1]}/00.png"
        ways = {
            "image": Image.open(folder / "00.png"),
            "path": str(folder / "00.png"),
            "base64": encoded,
            "url": address,
        }
        pixels = []
        for key, picture in ways.items():
            messages = [{"role": "user", "content": [{"type": "image", key: picture}]}]
            prompt = processor.apply_chat_template(messages, tokenize=True, return_dict=True, return_tensors="pt")
            pixels.append(prompt["pixel_values"])
        server.shutdown()
    assert all(torch.equal(pixels[0], other) for other in pixels)


@pytest.mark.skipif(not torchvision_pair.installed_builds_differ(), reason="torchvision decodes by itself here")
def test_without_pillow_a_path_fails_as_13_says():
    """The operators' schemas alone let torchvision be imported; its decoder stays without code."""
    program = """
import sys
import torch
sys.meta_path = [finder for finder in sys.meta_path if getattr(finder, "__name__", "") != "_OperatorDeclarer"]
for name in ("nms", "qnms"):
    torch.library.define(f"torchvision::{name}", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
from torchvision.io import decode_image
decode_image(sys.argv[1])
"""
    run = subprocess.run(
        [sys.executable, "-c", program, ASSETS / "samples/pictures/00.png"], capture_output=True, text=True
    )
    assert run.returncode and "Couldn't load the image extension" in run.stderr
