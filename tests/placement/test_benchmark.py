"""The benchmark says whether targets are met, and makes its page of what was saved."""

import json
import xml.etree.ElementTree as ET
from dataclasses import asdict, replace

import pytest

from benchmarks.placement.__main__ import main
from benchmarks.placement.growth import growth_plot
from benchmarks.placement.instances import Cell
from benchmarks.placement.runs import Run, read, write
from benchmarks.placement.targets import in_all, judge


def made(cell, gap=0.0, seed=0, **rest):
    few = Cell.parse(cell).goal in ("memory", "load")
    value = 100 + 100 * gap if few else 1.0
    run = Run(
        cell=cell,
        seed=seed,
        models=Cell.parse(cell).models,
        cards=200,
        value=value,
        bound=100.0 if few else 1.0 + gap,
        gap=gap,
        bound_name="load",
        stop_reason="",
        seconds=1.0,
        peak_mib=100.0,
        baselines={"first fit": 150.0 if few else 0.5, "AlpaServe": None},
        broken=(),
    )
    return replace(run, **rest)


def met(cell, *gaps, **rest):
    runs = [made(cell, gap, seed, **rest) for seed, gap in enumerate(gaps)]
    return [verdict.met for verdict in judge(Cell.parse(cell), runs)]


@pytest.mark.parametrize(
    ("cell", "good", "bad"),
    [
        ("cv/load/50/same", [0, 0.00009], [0, 0.002]),
        ("cv/tight/50/same", [0, 0, 0, 0.05, 0.04], [0, 0, 0.01, 0.01, 0.01]),
        ("cv/loose/50/same", [0, 0, 0], [0, 0, 0.06]),
        ("zipf/load/300/same", [0.01, 0.01, 0.3], [0.021, 0.021, 0]),
        ("diffusion/load/1000/same", [0.05, 0.05, 0.3], [0.06, 0.06, 0]),
        ("zipf/tight/300/mixed", [0.01, 0.009, 0.05], [0, 0, 0.06]),
        ("diffusion/tight/300/same", [0.21], [0.22]),
        ("llm/tight/1000/same", [0.08], [0.081]),
        ("zipf/loose/10000/same", [0.009], [0.011]),
        ("diffusion/load/10000/same", [0.06], [0.061]),
    ],
)
def test_gaps(cell, good, bad):
    assert all(met(cell, *good))
    assert met(cell, *bad)[0] is False


def test_time_memory_and_baselines_are_targets_too():
    assert met("cv/load/300/same", 0, seconds=34.0) == [True, False, True, True]
    assert met("cv/loose/10000/same", 0, seconds=11.5) == [True, False, True, True]
    assert met("cv/load/10000/same", 0, seconds=50.0) == [True, True, True]
    assert met("cv/load/300/same", 0, peak_mib=1001.0) == [True, True, False, True]
    assert met("cv/load/300/same", 0, baselines={"first fit": 99.0})[-1] is False
    assert met("cv/loose/300/same", 0, baselines={"first fit": 1.1})[-1] is False
    assert met("cv/load/300/same", 0, broken=("too much",))[-1] is False


def test_what_was_not_measured_is_neither_met_nor_missed():
    verdicts = list(in_all([made("llm/tight/300/same", 0.1), made("llm/tight/1000/same", 0.01)]))
    told = {verdict.target: verdict for verdict in verdicts}
    assert told["llm tight: half of the open 16% closed"].met is False
    assert told["llm tight: half of the open 16% closed"].measured == (
        "worst median 10.00%: llm/tight/300/same"
    )
    assert told["diffusion tight: half of the open 42% closed"].met is None
    measured = [verdict.target for verdict in verdicts if verdict.met is not None]
    assert measured == [
        "llm tight: half of the open 16% closed",
        "at most 30 s of one core up to 1000 models",
        "memory under 1 GB",
        "valid, and never worse than a baseline",
    ]


def test_saved_runs_become_one_page_and_its_picture(tmp_path, capsys):
    first, second = tmp_path / "a.json", tmp_path / "b.json"
    write(first, [made("zipf/loose/300/same", 0.5), made("cv/load/12/same")])
    write(second, [made("zipf/loose/300/same", 0.004), made("zipf/loose/300/same", seed=1)])
    assert [(r.cell, r.seed, r.gap) for r in read([first, second])] == [
        ("cv/load/12/same", 0, 0.0),
        ("zipf/loose/300/same", 0, 0.004),
        ("zipf/loose/300/same", 1, 0.0),
    ]
    page = tmp_path / "placement.md"
    assert main(["--from", str(first), str(second), "--page", str(page)]) == 0
    text = page.read_text(encoding="utf-8")
    assert (
        "| `zipf/loose/300/same` | 200 | 2 | 1 | 1.002 | 50% | 0.20% | 0.40% | 0.40% | 1.00 | 1.00 "
        "| 100 | met | 2.00 x | none |"
    ) in text
    assert "(placement-growth.svg)" in text
    assert "3 problems made from seeds" in text
    ET.parse(tmp_path / "placement-growth.svg")
    assert "Targets" in capsys.readouterr().out


def test_a_refused_problem_is_told_and_no_part_of_the_medians(tmp_path):
    nan, page = float("nan"), tmp_path / "placement.md"
    none = replace(made("llm/tight/300/same", float("inf")), value=nan, bound=nan, broken=("no",))
    write(tmp_path / "a.json", [none, made("llm/tight/300/same", 0.004, seed=1)])
    assert main(["--from", str(tmp_path / "a.json"), "--page", str(page)]) == 1
    text = page.read_text(encoding="utf-8")
    assert "| `llm/tight/300/same` | 200 | 2 | 1 | 1.004 | 0% | inf% | inf% | inf% |" in text
    assert "1 without one that keeps every rule" in text
    assert "1 of 2 invalid or without a plan, 0 beaten" in text


def test_a_plan_is_planned_judged_and_saved(tmp_path, capsys):
    file = tmp_path / "runs.json"
    assert main(["--cell", "zipf/load/12/same", "--json", str(file)]) == 0
    (run,) = read([file])
    assert (run.models, run.broken, run.gap) == (12, (), 0.0)
    assert json.loads(file.read_text())[0]["cell"] == "zipf/load/12/same"
    assert "zipf/load/12/same" in capsys.readouterr().out
    assert asdict(run)["baselines"].keys() == {"first fit", "AlpaServe", "MuxServe"}


def test_the_picture_has_a_point_for_each_plan():
    runs = [made("cv/load/12/same", seed=seed, seconds=seed + 1.0) for seed in range(3)]
    root = ET.fromstring(growth_plot(runs))
    circles = [each for each in root.iter() if each.tag.endswith("circle")]
    assert len(circles) == 1 + 4 * (3 + 1)  # the mix's name; each panel's plans and their median
