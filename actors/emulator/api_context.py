"""``Context``: where and how a model is to run. Attributes, checks and texts as in the library.

The classes are those of release 2.0; what later ones add is in ``releases``.
"""

from typing import ClassVar

from actors.emulator.types import check_isinstance, check_list

_TARGETS = ("cpu", "gpu", "ascend")


class _Device:
    """What the three kinds of device settings have in common: checked attributes."""

    _kind: ClassVar[str]
    _modes: ClassVar[tuple[str, ...]]

    def __init__(self, precision_mode: str) -> None:
        self._precision_mode = precision_mode

    def _natural(self, name: str, value: int) -> int:
        check_isinstance(f"{self._kind}_{name}", value, int)
        if value < 0:
            raise ValueError(f"{self._kind}_{name} must be a non-negative int.")
        return value

    @property
    def precision_mode(self) -> str:
        """Precision mode; the emulator computes in the model's own types whatever it says."""
        return self._precision_mode

    @precision_mode.setter
    def precision_mode(self, value: str) -> None:
        name = f"{self._kind}_precision_mode"
        check_isinstance(name, value, str)
        if value not in self._modes:
            raise ValueError(f"{name} must be in [{', '.join(self._modes)}], but got {value}.")
        self._precision_mode = value


class _CPU(_Device):
    """``context.cpu``."""

    _kind = "cpu"
    _modes = ("enforce_fp32", "preferred_fp16")

    def __init__(self) -> None:
        super().__init__("enforce_fp32")
        self._thread_num = 0
        self._inter_op_parallel_num = 0
        self._thread_affinity_mode = 0
        self._thread_affinity_core_list: list[int] = []

    @property
    def thread_num(self) -> int:
        """Threads of one run; kept, and not used: the emulator runs on one."""
        return self._thread_num

    @thread_num.setter
    def thread_num(self, value: int) -> None:
        self._thread_num = self._natural("thread_num", value)

    @property
    def inter_op_parallel_num(self) -> int:
        """Operators run at the same time; kept, and not used."""
        return self._inter_op_parallel_num

    @inter_op_parallel_num.setter
    def inter_op_parallel_num(self, value: int) -> None:
        self._inter_op_parallel_num = self._natural("inter_op_parallel_num", value)

    @property
    def thread_affinity_mode(self) -> int:
        """0: no binding, 1: big cores first, 2: middle cores first; kept, and not used."""
        return self._thread_affinity_mode

    @thread_affinity_mode.setter
    def thread_affinity_mode(self, value: int) -> None:
        check_isinstance("cpu_thread_affinity_mode", value, int)
        self._thread_affinity_mode = value

    @property
    def thread_affinity_core_list(self) -> list[int]:
        """Cores to bind to; kept, and not used."""
        return self._thread_affinity_core_list

    @thread_affinity_core_list.setter
    def thread_affinity_core_list(self, value: list[int]) -> None:
        check_list("cpu_thread_affinity_core_list", value, int)
        self._thread_affinity_core_list = value


class _GPU(_Device):
    """``context.gpu``: settable, and never run on."""

    _kind = "gpu"
    _modes = ("enforce_fp32", "preferred_fp16")

    def __init__(self) -> None:
        super().__init__("enforce_fp32")
        self._device_id = 0

    @property
    def device_id(self) -> int:
        """Index of the card."""
        return self._device_id

    @device_id.setter
    def device_id(self, value: int) -> None:
        self._device_id = self._natural("device_id", value)

    @property
    def rank_id(self) -> int:
        """Always 0 here."""
        return 0

    @property
    def group_size(self) -> int:
        """Always 1 here."""
        return 1


class Ascend(_Device):
    """``context.ascend``."""

    _kind = "ascend"
    _modes = (
        "enforce_fp32",
        "preferred_fp32",
        "enforce_fp16",
        "enforce_origin",
        "preferred_optimal",
    )

    def __init__(self) -> None:
        super().__init__("")
        self._device_id = 0

    @property
    def device_id(self) -> int:
        """Logical index of the card in this process. Out of range means card 0, with a warning."""
        return self._device_id

    @device_id.setter
    def device_id(self, value: int) -> None:
        self._device_id = self._natural("device_id", value)


class Context:
    """Where models run: ``target`` and the settings of each kind of device.

    Device settings are shared, not copied: they may be set before or after ``target``.
    """

    _ascend: ClassVar[type[Ascend]] = Ascend

    def __init__(self) -> None:
        self.cpu = _CPU()
        self.gpu = _GPU()
        self.ascend = self._ascend()
        self._target = ["cpu"]

    def __str__(self) -> str:
        return f"target: {self.target}."

    @property
    def target(self) -> list[str]:
        """Device kinds as given, each of ``cpu``, ``gpu``, ``ascend`` in any case.

        Raises:
            TypeError: not a list, or elements that are no strings.
            ValueError: an unknown kind.
        """
        return self._target

    @target.setter
    def target(self, value: list[str]) -> None:
        target = value or ["cpu"]
        check_list("target", target, str)
        for element in target:
            if element.lower() not in _TARGETS:
                raise ValueError(
                    f"target elements must be in ['cpu', 'gpu', 'ascend'], "
                    f"but got {element.lower()}."
                )
        self._target = target

    @property
    def _first_target(self) -> str:
        """The kind of device that models are built for."""
        return self._target[0].lower()

    @property
    def _provider(self) -> str:
        """``""`` for ACL, ``"ge"`` for GE."""
        provider: str = getattr(self.ascend, "provider", "")
        return provider
