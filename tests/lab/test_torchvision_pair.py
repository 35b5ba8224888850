"""llama4lab.torchvision_pair: torchvision reads and decodes pictures beside a torch of another build."""

import subprocess
import sys

from PIL import Image

# The copy that this environment installed when Python started may be an older one.
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
