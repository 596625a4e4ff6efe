"""Files that are one record each: images, and files that a pipeline takes apart itself."""

import warnings
from collections.abc import Iterator
from functools import partial
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from orchestrator.errors import JobError
from orchestrator.jobs import RECORD_ID, Part, Piece, Unit
from orchestrator.runtime.io.columns import TEXT, Array, Columns, Holds
from orchestrator.runtime.io.files import InputFiles
from orchestrator.runtime.io.source import Batch, Load, nothing_in, unreadable

if TYPE_CHECKING:
    from PIL import Image

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp")


class WholeFiles:
    """Every file is a record with the columns ``path`` and ``bytes``.

    Raises:
        JobError: there is none.
    """

    what = "file"
    suffixes: tuple[str, ...] = ("",)
    value = "bytes"
    holds = Holds("bytes", numbers=False)
    part_size = 8
    batch_size = 1
    unit = Unit.FILE

    def __init__(self, files: InputFiles) -> None:
        self._files = files
        self.names = files.only(self.suffixes)
        self.ignored = len(files.names) - len(self.names)
        self.columns = {"path": TEXT, self.value: self.holds}
        if not self.names:
            endings = [suffix for suffix in self.suffixes if suffix]
            raise nothing_in(files.where, self.what, self.ignored, endings)

    def pieces(self, size: int) -> list[Piece]:
        """One for each file."""
        return [Piece(name) for name in self.names]

    def stamp(self, file: str) -> str:
        """Size and time of change."""
        return self._files.stamp(file)

    def seen_from_here(self) -> bool:
        """Whether this process can read the files."""
        return self._files.seen_from_here()

    def read(self, part: Part, rows: int) -> Iterator[Load]:
        """Batches of files; each is read and decoded where it is loaded."""
        names = [piece.file for piece in part.pieces]
        for at in range(0, len(names), rows):
            yield Load(partial(self._load, names[at : at + rows]))

    def _load(self, names: list[str]) -> Batch:
        read, values, rejects = [], [], []
        for name in names:
            try:
                with self._files.open(name) as file:
                    values.append(self.decode(name, file))
            except JobError as error:
                rejects.append(unreadable(name, error))
            else:
                read.append(name)
        return Batch(tuple(read), self._columns(read, values), tuple(rejects))

    def _columns(self, names: list[str], values: list[Any]) -> Columns:
        column = np.empty(len(values), dtype=object)
        for row, value in enumerate(values):
            column[row] = value
        path = np.array(names, dtype=np.str_)
        return {"path": path, self.value: column, RECORD_ID: path}

    def decode(self, name: str, file: IO[bytes]) -> Any:  # noqa: ANN401 - as a pipeline gets it
        """What the record holds.

        Raises:
            JobError: that cannot be found out.
        """
        return file.read()


class Images(WholeFiles):
    """Images, with the columns that ``ray.data.read_images`` gives: ``path`` and ``image``.

    An image is uint8 [H, W, 3] RGB, turned upright as its EXIF data says, transparent parts on
    white.

    Raises:
        JobError: there is none; Pillow is missing.
    """

    what = "image"
    suffixes = IMAGE_SUFFIXES
    value = "image"
    holds = Holds("images", numbers=True)

    def __init__(self, files: InputFiles) -> None:
        super().__init__(files)
        try:
            import PIL  # noqa: F401
        except ImportError as error:
            raise JobError(
                files.where,
                "reading images needs Pillow: pip install 'ascend-orchestrator[examples]'",
            ) from error

    def decode(self, name: str, file: IO[bytes]) -> Array:
        """Decode one image.

        Raises:
            JobError: it cannot be decoded, is too large, or holds several pages.
        """
        from PIL import Image, ImageOps

        try:
            # Pillow only warns about images that would take gigabytes: refuse them.
            with warnings.catch_warnings():
                warnings.simplefilter("error", Image.DecompressionBombWarning)
                with Image.open(file) as image:
                    _refuse_pages(name, image)
                    return np.asarray(_on_white(ImageOps.exif_transpose(image)))
        except JobError:
            raise
        except Exception as error:  # Pillow raises whatever damaged bytes lead its decoders to
            known = OSError | SyntaxError | ValueError | Warning | Image.DecompressionBombError
            told = str(error) if isinstance(error, known) else f"{type(error).__name__}: {error}"
            raise JobError(name, f"cannot be read: {told}") from error


def _refuse_pages(name: str, image: "Image.Image") -> None:
    frames = getattr(image, "n_frames", 1)
    if frames > 1:
        raise JobError(name, f"holds {frames} pages; give each a file of its own")


def _on_white(image: "Image.Image") -> "Image.Image":
    """Any mode of Pillow as RGB, without losing what 16-bit or transparent images show."""
    from PIL import Image

    if image.mode.startswith("I") or image.mode == "F":
        values = np.asarray(image, dtype=np.float64)
        scale = 255 / max(float(np.max(values, initial=0.0)), 255.0)
        return Image.fromarray((values * scale).clip(0, 255).astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image).convert("RGB")
    return image.convert("RGB")
