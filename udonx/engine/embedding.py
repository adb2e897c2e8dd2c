"""An image embedding in a folder: a backbone in timm's layout and, where it has one, a head.

`udonx export` puts this file into the folder, beside timm's config.json and model.safetensors and
head.safetensors. It needs torch, timm and Pillow, not udonx:

    from embedding import Embedding
    vectors = Embedding.load("FOLDER").embed(["a.jpg", "b.jpg"])

Shape suffixes: B images, C colours, D embedding, F features of the backbone, H W pixels.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import timm
import torch
from PIL import Image, ImageOps
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.functional import interpolate, normalize

# Pillow knows more; some of them start other programs
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")


def to_rgb(image: Image.Image) -> Image.Image:
    """An image of any mode as RGB.

    Transparency lies over white; 16-bit grey is scaled to 8 bits.
    """
    if image.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image.convert("RGB")


def preprocess(image: Image.Image, crop: int) -> Tensor:
    """Resize the smaller edge to `crop` and cut the centre: float32 [3, crop, crop], 0..255.

    Bilinear without antialiasing, as the model was evaluated; timm's transforms antialias, which
    gives other features.
    """
    pixels_1CHW = torch.from_numpy(np.array(to_rgb(image))).permute(2, 0, 1)[None].float()
    height, width = (edge * crop // min(image.size) for edge in (image.height, image.width))
    resized_CHW = interpolate(
        pixels_1CHW, size=(height, width), mode="bilinear", align_corners=False, antialias=False
    )[0]
    top, left = (height - crop) // 2, (width - crop) // 2
    return resized_CHW[:, top : top + crop, left : left + crop]


def build_head(widths: Sequence[int]) -> nn.Sequential:
    """Linear layers of these widths, with LayerNorm and tanh-GELU between them."""
    layers: list[nn.Module] = []
    for width, following in pairwise(widths):
        layers += [
            nn.Linear(width, following),
            nn.LayerNorm(following, eps=1e-6),
            nn.GELU(approximate="tanh"),
        ]
    return nn.Sequential(*layers[:-2])


class Embedding(nn.Module):
    """Turns images into embeddings.

    Images are float [B, 3, crop, crop], 0..255. Embeddings are float32 [B, D] with unit rows;
    without a head they are the backbone's features. Exported with `--tta flip`, an embedding is the
    mean over an image and its mirror image.

    Args:
        folder: what `udonx export` wrote.
    """

    mean_C11: Tensor
    std_C11: Tensor

    def __init__(self, folder: str | Path) -> None:
        super().__init__()
        config = json.loads((Path(folder) / "config.json").read_text())
        ours, statistics = config["udonx"], config["pretrained_cfg"]
        self.crop, self.upright = ours["crop"], ours["upright"]
        self.flip = ours.get("tta") == "flip"
        self.autocast = torch.bfloat16 if ours["precision"] == "bf16" else None
        self.backbone = timm.create_model(f"local-dir:{folder}", pretrained=True, num_classes=0)
        self.head = None
        if ours["head"] is not None:
            self.head = build_head(
                [config["num_features"], *ours["head"]["hidden"], ours["head"]["dim"]]
            )
            self.head.load_state_dict(load_file(Path(folder) / "head.safetensors"))
        self.register_buffer(
            "mean_C11", torch.tensor(statistics["mean"]).reshape(3, 1, 1), persistent=False
        )
        self.register_buffer(
            "std_C11", torch.tensor(statistics["std"]).reshape(3, 1, 1), persistent=False
        )

    @classmethod
    def load(cls, folder: str | Path = Path(__file__).parent, device: str = "cpu") -> Embedding:
        """The embedding of an exported folder, ready for use.

        Args:
            folder: the folder; by default the one that this file lies in.
            device: where it computes.
        """
        return cls(folder).eval().requires_grad_(False).to(device)

    def features(self, images_BCHW: Tensor) -> Tensor:
        """The backbone's features, float32 [B, F] with unit rows."""
        with torch.autocast(
            images_BCHW.device.type, dtype=self.autocast, enabled=self.autocast is not None
        ):
            features_BF = self.backbone((images_BCHW / 255 - self.mean_C11) / self.std_C11)
        return normalize(features_BF.float())

    def forward(self, images_BCHW: Tensor) -> Tensor:
        """Embeddings float32 [B, D] of images float [B, 3, crop, crop], 0..255."""
        embedding_BD = self._embed(images_BCHW)
        return self._with_mirror(embedding_BD, images_BCHW) if self.flip else embedding_BD

    def _embed(self, images_BCHW: Tensor) -> Tensor:
        features_BF = self.features(images_BCHW)
        return features_BF if self.head is None else normalize(self.head(features_BF))

    def _with_mirror(self, embedding_BD: Tensor, images_BCHW: Tensor) -> Tensor:
        return normalize(embedding_BD + self._embed(images_BCHW.flip(-1)))

    @torch.no_grad()
    def embed(
        self, images: Sequence[str | Path | Image.Image], batch: int = 64, flip: bool = False
    ) -> np.ndarray:
        """Embeddings of image files or PIL images.

        Args:
            images: paths or PIL images.
            batch: how many are embedded at once.
            flip: gives the mean of the embeddings of an image and its mirror image, of unit length;
                an export with `--tta flip` always does.

        Returns:
            float32 [B, D] with unit rows: inner products are cosine similarities.
        """
        parts = []
        for start in range(0, len(images), batch):
            pixels = torch.stack(
                [preprocess(self.read(image), self.crop) for image in images[start : start + batch]]
            )
            pixels = pixels.to(self.mean_C11.device)
            embedding_BD = self(pixels)
            if flip and not self.flip:
                embedding_BD = self._with_mirror(embedding_BD, pixels)
            parts.append(embedding_BD.cpu())
        return torch.cat(parts).numpy()

    def read(self, image: str | Path | Image.Image) -> Image.Image:
        """An image, turned upright by its EXIF orientation where the model was trained so."""
        image = image if isinstance(image, Image.Image) else Image.open(image, formats=FORMATS)
        return ImageOps.exif_transpose(image) if self.upright else image
