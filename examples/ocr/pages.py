"""Pages to read: ``python -m examples.ocr.pages FOLDER --count 16 --seed 1``.

Invoices, tables of numbers, letters and slips with known text, drawn in several sizes and turned
by up to two degrees, with the truth in ``truth.json`` beside them; and the two scans that
scikit-image ships (``page.png``, BSD-3-Clause like scikit-image; ``text.png``, public domain).
The letters are Pillow's own font (Aileron, CC0), so no font file is needed.
"""

import argparse
import json
import random
import shutil
from collections.abc import Callable
from importlib.metadata import distribution
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

#: A4 upright at 150 dots per inch, and half of it lying.
PORTRAIT, LANDSCAPE = (1240, 1754), (1240, 874)
MARGIN = 110
SCANS = ("page.png", "text.png")
TRUTH = "truth.json"

_WORDS = """
the of and a to in is that for it as was with be by on not he his but at are this have from or had
an they which one you were all her she there would their we him been has when who will no more if
out so up said what its about than into them can only other time new some could these two may first
then do any like my now over such our man me even most made after also did many off before must
well back through years much where your way down should because long each just state those people
too mister how little good world make very year still see own work men day
"""
_ITEMS = """
Paper A4 white, Desk lamp, Copper wire 2 mm, Printer ink black, Steel screws M6, Office chair,
Network cable, Coffee beans, Safety gloves, Hard disk 4 TB, Window glass, Garden hose
"""
_NAMES = "Keller, Novak, Rossi, Dubois, Jensen, Moreau, Schmidt, Silva, Yilmaz, Larsen"
_CITIES = "Basel, Lyon, Porto, Utrecht, Graz, Leeds, Malmo, Gdansk, Turin, Ghent"


class Row(NamedTuple):
    """One row of text: cells as (x, text), drawn at height ``y`` in a font of ``size`` pixels."""

    y: int
    size: int
    cells: tuple[tuple[int, str], ...]


def render_pages(folder: Path, count: int, seed: int = 1, *, scans: bool = True) -> Path:
    """Draw ``count`` pages into ``folder`` with their truth, and copy the scans there; return it.

    The same seed draws the same pages. The truth holds, for each page, its rows from top to bottom:
    the text with one space between cells, and the box (four corners) that the row was drawn into.
    """
    folder.mkdir(parents=True, exist_ok=True)
    truth = {}
    for index in range(count):
        draw = random.Random(f"{seed} {index}")
        kind = _KINDS[index % len(_KINDS)]
        name = f"{index:04d}-{kind.__name__.strip('_')}.png"
        truth[name] = _draw(kind(draw), draw, folder / name)
    (folder / TRUTH).write_text(json.dumps(truth, indent=1))
    if scans:
        for name in SCANS:
            shutil.copyfile(
                str(distribution("scikit-image").locate_file(f"skimage/data/{name}")), folder / name
            )
    return folder


def _invoice(draw: random.Random) -> list[Row]:
    left, right = MARGIN, PORTRAIT[0] - 330
    rows = [
        Row(120, 64, ((left, f"Invoice No {draw.randint(10000, 99999)}"),)),
        Row(
            230,
            32,
            ((left, f"{draw.choice(_listed(_NAMES))} and Sons, {draw.choice(_listed(_CITIES))}"),),
        ),
        Row(300, 32, ((left, f"Date {_date(draw)}"), (right, f"Page {draw.randint(1, 9)}"))),
    ]
    total, y = 0, 430
    for item in draw.sample(_listed(_ITEMS), draw.randint(4, 6)):
        number, cents = draw.randint(1, 20), draw.randint(100, 99999)
        total += number * cents
        cells = ((left, item), (620, str(number)), (right, f"{cents * number / 100:,.2f}"))
        rows.append(Row(y, 36, cells))
        y += 78
    rows.append(Row(y + 60, 44, ((left, "Total"), (right, f"{total / 100:,.2f}"))))
    return rows


def _letter(draw: random.Random) -> list[Row]:
    size = draw.choice((30, 34, 38, 44))
    font, words = ImageFont.load_default(size), _WORDS.split()
    rows, y = [], 160
    rows.append(Row(y, 48, ((MARGIN, f"{draw.choice(_listed(_CITIES))}, {_date(draw)}"),)))
    y += 150
    for _ in range(draw.randint(5, 8)):
        line = draw.choice(words).capitalize()
        while font.getlength(line) < (PORTRAIT[0] - 2 * MARGIN) * draw.uniform(0.7, 0.9):
            line += " " + draw.choice(words)
        rows.append(Row(y, size, ((MARGIN, line + "."),)))
        y += int(size * draw.uniform(1.6, 2.2))
    rows.append(Row(y + 80, size, ((MARGIN, f"Yours, {draw.choice(_listed(_NAMES))}"),)))
    return rows


def _numbers(draw: random.Random) -> list[Row]:
    rows = [Row(140, 52, ((MARGIN, f"Readings of {_date(draw)}"),))]
    size = draw.choice((34, 40, 46))
    for line in range(draw.randint(6, 8)):
        cells = tuple(
            (MARGIN + 360 * column, f"{draw.uniform(0, 10 ** draw.randint(2, 5)):.{3 - column}f}")
            for column in range(3)
        )
        rows.append(Row(290 + line * size * 2, size, cells))
    return rows


def _slip(draw: random.Random) -> list[Row]:
    return [
        Row(130, 70, ((MARGIN, f"Parcel {draw.randint(10**7, 10**8)}"),)),
        Row(
            300,
            42,
            ((MARGIN, f"From: {draw.choice(_listed(_NAMES))}, {draw.choice(_listed(_CITIES))}"),),
        ),
        Row(
            390,
            42,
            ((MARGIN, f"To: {draw.choice(_listed(_NAMES))}, {draw.choice(_listed(_CITIES))}"),),
        ),
        Row(520, 30, ((MARGIN, f"Weight {draw.uniform(0.2, 30):.1f} kg"), (700, _date(draw)))),
    ]


#: One kind after the other, so that any number of pages is a fair mix.
_KINDS: tuple[Callable[[random.Random], list[Row]], ...] = (_invoice, _letter, _numbers, _slip)


def _listed(text: str) -> list[str]:
    return [item.strip() for item in text.split(",")]


def _date(draw: random.Random) -> str:
    return f"{draw.randint(1, 28):02d}.{draw.randint(1, 12):02d}.{draw.randint(2001, 2026)}"


def _draw(rows: list[Row], draw: random.Random, path: Path) -> list[dict[str, object]]:
    size = LANDSCAPE if rows[-1].y < LANDSCAPE[1] - MARGIN and len(rows) < 6 else PORTRAIT
    image = Image.new("L", size, 255)
    canvas = ImageDraw.Draw(image)
    turn = cv2.getRotationMatrix2D((size[0] / 2, size[1] / 2), draw.uniform(-2, 2), 1.0)
    truth: list[dict[str, object]] = []
    for row in rows:
        font, right = ImageFont.load_default(row.size), 0.0
        for x, text in row.cells:
            canvas.text((x, row.y), text, fill=draw.randint(0, 60), font=font)
            right = x + font.getlength(text)
        low = row.y + row.size * 1.25
        corners = [(MARGIN, row.y, 1), (right, row.y, 1), (right, low, 1), (MARGIN, low, 1)]
        box = (np.array(corners) @ turn.T).round(1).tolist()
        truth.append({"text": " ".join(text for _, text in row.cells), "box": box})
    turned = cv2.warpAffine(
        np.asarray(image), turn, size, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
    )
    cv2.imwrite(str(path), turned)
    return truth


def _main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=16)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    render_pages(options.folder, options.count, options.seed)
    print(f"{options.count} drawn pages and {len(SCANS)} scans in {options.folder}")


if __name__ == "__main__":
    _main()
