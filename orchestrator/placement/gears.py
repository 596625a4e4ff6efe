"""What a refused deployment could convert anew: models with fewer gears, which take less memory."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

from actors.gears import format_gears
from actors.memory import CardMemory
from actors.messages import GearMeasurement
from orchestrator.errors import PlanRefusedError
from orchestrator.placement.changes import Trials
from orchestrator.placement.problem import Model, Problem
from orchestrator.profiles import ModelProfile
from orchestrator.units import format_bytes

#: Models times cards that may be tried.
_MOST_TRIED = 100_000


def with_conversions(
    refused: PlanRefusedError,
    problem: Problem,
    profiles: Mapping[str, ModelProfile],
    sized: Callable[[ModelProfile], Model],
) -> PlanRefusedError:
    """The refusal with the conversions that would fit too; ``sized`` makes a profile's model."""
    found = tuple(_conversions(problem, profiles, sized))
    return PlanRefusedError(refused.reason, refused.details, (*refused.changes, *found))


def _conversions(
    problem: Problem,
    profiles: Mapping[str, ModelProfile],
    sized: Callable[[ModelProfile], Model],
) -> Iterator[str]:
    """For each model that alone would make room, the most gears with which it does.

    What a file with these gears takes is what the file of today takes at them: nobody has measured
    such a file, and it says so. Tried for as many models as is quick.
    """
    trials = Trials(_MOST_TRIED)
    for model in problem.models:
        for gears, smaller in _smaller(profiles[model.name]):
            other = sized(smaller)
            others = tuple(other if one.name == model.name else one for one in problem.models)
            if trials.fits(replace(problem, models=others)):
                size = CardMemory().plus(other.footprint).total
                yield f"{_wanted(model.name, gears)} ({format_bytes(size)} a card; unverified)"
                break


def _smaller(
    profile: ModelProfile,
) -> Iterator[tuple[tuple[GearMeasurement, ...], ModelProfile]]:
    """The profile without its largest gear, its two largest, and so on."""
    measured = profile.measurement
    if measured is None:
        return
    gears = sorted(measured.gears, key=lambda gear: (sum(gear.tensor_bytes), gear.workspace_bytes))
    for count in range(len(gears) - 1, 0, -1):
        kept = tuple(gears[:count])
        tensors = tuple(map(max, zip(*(gear.tensor_bytes for gear in kept), strict=True)))
        sizes = replace(
            profile.sizes,
            workspace=min(profile.sizes.workspace, max(gear.workspace_bytes for gear in kept)),
            tensors=tensors,
        )
        yield kept, replace(profile, sizes=sizes, measurement=replace(measured, gears=kept))


def _wanted(name: str, gears: tuple[GearMeasurement, ...]) -> str:
    shape, dims = format_gears([gear.gear for gear in gears])
    wanted = f"with gears {dims} of {shape}" if dims else f"to {shape}"
    return f"reconvert {name} {wanted}"
