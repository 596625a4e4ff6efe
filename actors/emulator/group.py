"""``ModelGroup``: which models share memory, declared and sized before they are built."""

import itertools
from collections.abc import Sequence
from typing import Any

from actors.emulator import nativelog
from actors.emulator.api_context import Context
from actors.emulator.build import size_member
from actors.emulator.model import Model
from actors.emulator.registry import LIBRARY
from actors.emulator.types import ModelGroupFlag, ModelType, check_isinstance

_ids = itertools.count(1)
_SIZING_FAILED = "ModelGroup's cal max size of workspace failed."


class ModelGroup:
    """Models that share weights, workspace or both.

    Args:
        flags: what they share. The default is the workspace, whatever the library's docstring says.

    Raises:
        RuntimeError: not a flag.
    """

    def __init__(self, flags: ModelGroupFlag = ModelGroupFlag.SHARE_WORKSPACE) -> None:
        if not isinstance(flags, ModelGroupFlag):
            raise RuntimeError(  # noqa: TRY004 - the library's type
                "Parameter flags should be ModelGroupFlag.SHARE_WORKSPACE or "
                "ModelGroupFlag.SHARE_WEIGHT or ModelGroupFlag.kShareWeightAndWorkspace"
            )
        self._flag = flags
        self._id = next(_ids)
        self._paths: list[str] = []

    def add_model(self, models: Sequence[str] | Sequence[Model]) -> None:
        """Declare members: path strings for ACL, Model objects that are not built yet for GE.

        Paths are only noted; empty ones are skipped.

        Raises:
            TypeError: no list or tuple, or elements that are neither all paths nor all Models.
            RuntimeError: nothing given, Models in a group that shares workspace, or a Model that is
                in a group already.
        """
        if not isinstance(models, list | tuple):
            raise TypeError(f"models must be list/tuple, but got {type(models)}")
        if not models:
            raise RuntimeError("models cannot be empty")
        kind: type[Any] = str if isinstance(models[0], str) else Model
        for index, element in enumerate(models):
            if not isinstance(element, kind):
                raise TypeError(
                    f"models element must be all str or Model, but got {type(element)} "
                    f"at index {index}."
                )
        nativelog.forget()
        if kind is str:
            self._paths.extend(path for path in models if path)
        else:
            self._add_objects(models)

    def cal_max_size_of_workspace(self, model_type: ModelType, context: Context) -> None:
        """Read the sizes of all members and register them; needed for every flag.

        Afterwards the list is empty. Failing at a path forgets every registration of the process.

        Raises:
            TypeError: arguments of other types.
            RuntimeError: the provider is GE, a file is no model, or the card's workspace was taken
                by an earlier build; the log says which.
        """
        check_isinstance("context", context, Context)
        check_isinstance("model_type", model_type, ModelType)
        nativelog.forget()
        if context._provider == "ge":
            nativelog.write("Not Support GE model to ModelGroup::CalMaxSizeOfWorkspace!")
            raise RuntimeError(_SIZING_FAILED)
        with LIBRARY.building:
            try:
                for path in self._paths:
                    size_member(path, model_type, context)
                    LIBRARY.register(path, self._flag)
            except Exception as error:
                LIBRARY.wipe()
                nativelog.write(f"Cal max size of workspace failed: {error}")
                raise RuntimeError(_SIZING_FAILED) from None
            self._paths.clear()

    def _add_objects(self, models: Sequence[Any]) -> None:
        problem = ""
        if self._flag is not ModelGroupFlag.SHARE_WEIGHT:
            problem = "Only support share weight for model objects"
        for model in models:
            if not problem and model._group_id is not None:
                problem = f"model has been in another group, group id: {model._group_id}"
        if problem:
            nativelog.write(problem)
            raise RuntimeError("ModelGroup's add model failed.")
        for model in models:
            model._group_id = self._id
