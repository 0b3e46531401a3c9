"""Compression of crops as JPEG and WebP, through Pillow's libjpeg and libwebp."""

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from atdsr.datasets.degradations.planning import CompressionTask

_Samples = NDArray[np.uint8]


def compressed(samples: _Samples, task: CompressionTask) -> _Samples:
    """Return a crop `h w c`, RGB or gray, as it is after compression and decompression.

    The rows and columns of a block that lie outside the crop are its mirror image.
    """
    padded = np.pad(samples, ((task.top, 0), (task.left, 0), (0, 0)), mode="symmetric")
    with Image.open(io.BytesIO(encoded(padded, task))) as image:
        decoded = np.asarray(image.convert("L" if samples.shape[2] == 1 else "RGB"))
    return decoded.reshape(padded.shape)[task.top :, task.left :]


def encoded(samples: _Samples, task: CompressionTask) -> bytes:
    """Return the file of a picture `h w c`, RGB or gray."""
    file = io.BytesIO()
    image = Image.fromarray(samples[..., 0] if samples.shape[2] == 1 else samples)
    if task.format == "JPEG":
        subsampling = "4:2:0" if task.is_subsampled else "4:4:4"
        image.save(file, "JPEG", quality=task.quality, subsampling=subsampling)
    else:
        image.save(file, task.format, quality=task.quality)
    return file.getvalue()


def jpeg(samples: _Samples, quality: int) -> _Samples:
    """Return a picture `h w 3` as it is after JPEG with 4:2:0."""
    return compressed(samples, CompressionTask("JPEG", quality, True, 0, 0, ""))
