"""The shapes that the three models are compiled for: what the ``.ini`` files say.

The pipeline fits its pages and lines into these, so both are written from here. Heights and widths
in pixels; every gear's area stays within what the plan charges for the largest.
"""

from actors.shapes import Gear

#: Height and width of the detector's input: a portrait page (A4 and narrower), a landscape half.
DET_SIZES = ((960, 704), (480, 704))

#: Height and width of one line for the angle classifier, and the batches it is compiled for.
CLS_SIZE = (48, 192)
CLS_BATCHES = (1, 8)

#: Height of one line for the recognizer; for each width the batches it is compiled for. Wider
#: batches would enlarge its workspace: each gear is at most 1280 pixels of line.
REC_HEIGHT = 48
REC_BATCHES = {160: (1, 4), 320: (1, 4), 640: (1, 2), 960: (1,), 1280: (1,)}


def gears() -> dict[str, tuple[Gear, ...]]:
    """Every gear by model name."""
    shapes = {
        "det": [(1, 3, height, width) for height, width in DET_SIZES],
        "cls": [(batch, 3, *CLS_SIZE) for batch in CLS_BATCHES],
        "rec": [
            (batch, 3, REC_HEIGHT, width)
            for width, batches in REC_BATCHES.items()
            for batch in batches
        ],
    }
    return {
        name: tuple(Gear((("x", shape),)) for shape in listed) for name, listed in shapes.items()
    }
