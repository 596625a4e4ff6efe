"""Damaged records cost themselves, damaged files one clear message, and none is a traceback."""

import io
import json
import random
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from orchestrator.errors import JobError
from tests.jobs.test_sources import batches, column, ids, rejects

ROWS = 40


def image(format: str, **options) -> bytes:
    pixels = np.random.default_rng(0).integers(0, 255, (12, 9, 3), np.uint8)
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "somebody"
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, format, exif=exif.tobytes(), **options)
    return out.getvalue()


def tiff() -> bytes:
    out = io.BytesIO()
    Image.fromarray(np.zeros((12, 9), np.uint16)).save(out, "TIFF", compression="tiff_lzw")
    return out.getvalue()


def parquet() -> bytes:
    out = io.BytesIO()
    table = pa.table({"x": list(range(ROWS)), "s": [f"text {row}" for row in range(ROWS)]})
    pq.write_table(table, out, row_group_size=16)
    return out.getvalue()


def npy(array: np.ndarray) -> bytes:
    out = io.BytesIO()
    np.save(out, array)
    return out.getvalue()


def npz() -> bytes:
    out = io.BytesIO()
    np.savez_compressed(out, x=np.arange(ROWS), y=np.ones((ROWS, 3), np.float32))
    return out.getvalue()


def jsonl() -> bytes:
    rows = [{"x": row, "s": f"é {row}", "v": [row, 0.5]} for row in range(ROWS)]
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def csv() -> bytes:
    return "".join(["x,s,y\n", *(f'{row},"é, {row}",{row / 2}\n' for row in range(ROWS))]).encode()


WHOLE = {
    "png": image("PNG"),
    "jpg": image("JPEG"),
    "webp": image("WEBP"),
    "tif": tiff(),
    "tiff": image("TIFF"),
    "parquet": parquet(),
    "npy": npy(np.arange(ROWS * 2.0).reshape(ROWS, 2)),
    "npz": npz(),
    "jsonl": jsonl(),
    "csv": csv(),
}


def damaged(data: bytes, rng: random.Random) -> bytes:
    """Some bytes changed, cut off, doubled or taken out."""
    at = rng.randrange(len(data))
    kind = rng.randrange(4)
    if kind == 0:
        return data[:at]
    if kind == 1:
        return data[:at] + data[max(0, at - rng.randrange(1, 9)) :]
    changed = bytearray(data)
    for _ in range(rng.randrange(1, 5)):
        changed[rng.randrange(len(changed))] = rng.choice((0, 255, rng.randrange(256)))
    return bytes(changed[: at + 1] + changed[at + 2 :]) if kind == 2 else bytes(changed)


@pytest.mark.parametrize("ending", WHOLE)
def test_any_damage_is_a_bad_record_or_one_clear_message(tmp_path: Path, ending: str) -> None:
    rng = random.Random(ending)
    path = tmp_path / f"a.{ending}"
    told = 0
    for _ in range(80):
        path.write_bytes(damaged(WHOLE[ending], rng))
        try:
            found = batches(path)
        except JobError as error:
            assert str(error).count("\n") == 0
            told += 1
        else:
            told += bool(rejects(found))
            names = ids(found)
            assert len(set(names)) == len(names)
            assert not set(names) & set(rejects(found))
            assert all(len(one) == len(one.ids) for one in found)
            for one in found:
                assert {len(values) for values in one.columns.values()} == {len(one.ids)}
    assert told > 5


def test_an_image_of_odd_exif_data_costs_itself(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.png").write_bytes(WHOLE["png"])
    data = WHOLE["tiff"]
    for at in range(8, len(data)):
        (tmp_path / "a.tif").write_bytes(data[:at] + bytes([data[at] ^ 0xFF]) + data[at + 1 :])
        assert {"a.png", "b.png"} <= set(ids(batches(tmp_path)))


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_text_that_is_no_utf8_costs_its_record(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"a.{kind}"
    if kind == "jsonl":
        lines = [b'{"x": %d, "s": "%s"}' % (row, b"\xff" if row == 5 else b"a") for row in range(9)]
        path.write_bytes(b"\n".join(lines))
    else:
        texts = [b"\xff" if row == 5 else b"a" for row in range(9)]
        text = pa.array(texts, pa.binary()).view(pa.string())
        pq.write_table(pa.table({"x": list(range(9)), "s": text}), path)
    found = batches(path)
    assert column(found, "x") == [row for row in range(9) if row != 5]
    (told,) = rejects(found).values()
    assert told.startswith("cannot be read: ")


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (npy(np.zeros((4, 2)))[:-5], r"a\.npy: is no whole NumPy file: it has 187 bytes, and its"),
        (npy(np.zeros(4, complex)), r"holds complex128, which no column can: save it as another"),
        (npy(np.zeros(4, np.longdouble)), r"holds float128, which no column can"),
        (npy(np.zeros((4, 0, 2))), r"its rows hold no values: its shape is \(4, 0, 2\)"),
    ],
)
def test_numpy_files_that_cannot_be_rows(tmp_path: Path, data: bytes, told: str) -> None:
    (tmp_path / "a.npy").write_bytes(data)
    with pytest.raises(JobError, match=told):
        batches(tmp_path)


def test_an_npz_file_with_a_wrong_checksum(tmp_path: Path) -> None:
    out = io.BytesIO()
    np.savez(out, x=np.arange(99999), y=np.random.default_rng(0).random(99999))
    data = bytearray(out.getvalue())
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        entry = archive.getinfo("y.npy")
    data[data.rindex(entry.CRC.to_bytes(4, "little"))] ^= 1
    (tmp_path / "a.npz").write_bytes(data)
    with pytest.raises(JobError, match=r"^a\.npz.*: is damaged: BadZipFile: Bad CRC-32"):
        batches(tmp_path)


def test_a_parquet_file_with_two_columns_of_a_name(tmp_path: Path) -> None:
    table = pa.table([pa.array([1]), pa.array([2]), pa.array([3])], names=["x", "y", "x"])
    pq.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(JobError, match=r"a\.parquet: names a column twice: x, y, x"):
        batches(tmp_path)


def test_a_quote_that_is_never_closed_costs_its_line_alone(tmp_path: Path) -> None:
    text = 'x,s\n1,a\n2,"b\nc"\n3,"d\n4,"e\n\nf,""g"""\n5,h\n6,"i"\n7,"5"" pipe"\n8,5" pipe\n'
    (tmp_path / "a.csv").write_text(text)
    found = batches(tmp_path)
    assert column(found, "x") == [1, 2, 4, 5, 6, 7, 8]
    values = ["a", "b\nc", 'e\n\nf,"g"', "h", "i", '5" pipe', '5" pipe']
    assert column(found, "s") == values
    told = rejects(found)
    assert list(told) == ["a.csv@16"]
    assert "a quote is not closed in its line" in told["a.csv@16"]


def test_whole_numbers_that_become_fractions_later_are_fractions(tmp_path: Path) -> None:
    for name, values in (("a", range(50000)), ("b", range(50000, 100000))):
        rows = [row + 0.5 if row >= 75000 else row for row in values]
        lines = (json.dumps({"x": row, "n": int(row), "v": [row, 1], "w": None}) for row in rows)
        (tmp_path / f"{name}.jsonl").write_text("\n".join(lines))
    found = batches(tmp_path, rows=1000)
    assert not rejects(found)
    assert {one.columns["x"].dtype for one in found} == {np.dtype(np.float64)}
    assert {one.columns["v"].dtype for one in found} == {np.dtype(np.float64)}
    assert {one.columns["n"].dtype for one in found} == {np.dtype(np.int64)}
    assert column(found, "x")[-1] == 99999.5
