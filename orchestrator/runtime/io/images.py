"""A folder of images as the input of a job."""

import os
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from orchestrator.errors import JobError

if TYPE_CHECKING:
    from PIL import Image

#: Files with other names are left alone, and counted.
SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp")

Array = npt.NDArray[Any]


class ImageFolder:
    """The images below a folder, by their paths relative to it, sorted; hidden ones are skipped.

    A record has the columns that ``ray.data.read_images`` gives: ``path`` and ``image``, the latter
    uint8 [H, W, 3] RGB, turned upright as its EXIF data says, transparent parts on white.

    Raises:
        JobError: no such folder, not a folder, not readable, or no image in it; Pillow is missing.
    """

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)
        _require_pillow(self.folder)
        if not self.folder.exists():
            raise JobError(str(folder), "no such folder")
        if not self.folder.is_dir():
            raise JobError(str(folder), "is a file; the input is a folder of images")
        files = sorted(_files(self.folder))
        self.names = tuple(name for name in files if name.lower().endswith(SUFFIXES))
        self.ignored = len(files) - len(self.names)
        if not self.names:
            beside = f" ({self.ignored} other files)" if self.ignored else ""
            kinds = ", ".join(SUFFIXES)
            raise JobError(str(folder), f"there is no image in it{beside}; images end in {kinds}")

    def stamp(self, name: str) -> str:
        """Size and time of change: what differs when the file was written anew.

        Raises:
            JobError: the file has gone.
        """
        try:
            known = (self.folder / name).stat()
        except OSError as error:
            raise JobError(name, f"cannot be read: {error}") from error
        return f"{known.st_size} {known.st_mtime_ns}"

    def read(self, name: str) -> dict[str, Array]:
        """Decode one image into a batch of one.

        Raises:
            JobError: it cannot be opened or decoded, is too large, or holds several pages.
        """
        from PIL import Image, ImageOps

        try:
            # Pillow only warns about images that would take gigabytes: refuse them.
            with warnings.catch_warnings():
                warnings.simplefilter("error", Image.DecompressionBombWarning)
                with Image.open(self.folder / name) as image:
                    frames = getattr(image, "n_frames", 1)
                    if frames > 1:
                        raise JobError(name, f"holds {frames} pages; give each a file of its own")
                    pixels = np.asarray(_on_white(ImageOps.exif_transpose(image)))
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError, Warning) as error:
            raise JobError(name, f"cannot be read: {error}") from error
        images = np.empty(1, dtype=object)
        images[0] = pixels
        return {"path": np.array([name]), "image": images}


def _require_pillow(folder: Path) -> None:
    try:
        import PIL  # noqa: F401
    except ImportError as error:
        raise JobError(
            str(folder),
            "reading images needs Pillow: pip install 'ascend-orchestrator[examples]'",
        ) from error


def _files(folder: Path) -> list[str]:
    """Relative paths with ``/`` of every file that is not hidden.

    Raises:
        JobError: the folder or one below it cannot be listed.
    """
    found = []

    def unreadable(error: OSError) -> None:
        raise JobError(str(error.filename or folder), f"cannot be listed: {error.strerror}")

    for where, folders, files in os.walk(folder, onerror=unreadable):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [Path(where, name) for name in files if not name.startswith(".")]
    return [path.relative_to(folder).as_posix() for path in found]


def _on_white(image: "Image.Image") -> "Image.Image":
    """Any mode of Pillow as RGB, without losing what 16-bit or transparent images show."""
    from PIL import Image

    if image.mode.startswith("I") or image.mode == "F":
        values = np.asarray(image, dtype=np.float64)
        scale = 255 / max(values.max(initial=0), 255)
        return Image.fromarray((values * scale).clip(0, 255).astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image).convert("RGB")
    return image.convert("RGB")
