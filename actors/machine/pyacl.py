"""pyACL, the Python module ``acl`` of CANN: imported, initialised, a device set; never finalised.

Only for card processes and for processes that are thrown away: ACL reads the list of visible cards
once in the life of a process. A device that is set belongs to the thread that set it.
"""

import importlib
from dataclasses import dataclass
from typing import Any

from actors.errors import CardError

#: acl.init() after somebody else's (the library initialises ACL as well): no error.
_REPEATED_INIT = 100002


@dataclass(eq=False, repr=False)
class NoAclError(CardError):
    """pyACL cannot be imported."""

    reason: str

    def __str__(self) -> str:
        return f"pyACL, which comes with CANN, is not here ({self.reason})"


@dataclass(eq=False, repr=False)
class AclError(CardError):
    """pyACL is here and refuses to work: the library would fail on this card as well."""

    call: str
    code: object

    def __str__(self) -> str:
        return (
            f"{self.call} answered {self.code}: the card is in use by another process that does "
            "not share it, in an error state, or not visible here; npu-smi info shows which"
        )


def import_acl() -> Any:  # noqa: ANN401 - a module without types
    """The module.

    Raises:
        NoAclError: it is not installed, or does not load.
    """
    try:
        return importlib.import_module("acl")
    except ImportError as error:
        raise NoAclError(str(error)) from error
    except Exception as error:  # a broken CANN: a library that is cut off, a release too old
        raise NoAclError(repr(error)) from error


def start(acl: Any, device_id: int | None = None) -> None:  # noqa: ANN401 - as above
    """Initialise ACL, if nobody has, and set a device for this thread. None: none is set.

    Raises:
        AclError: it cannot be initialised, or has no such device.
    """
    code = acl.init()
    if code not in (0, _REPEATED_INIT):
        raise AclError("acl.init", code)
    if device_id is None:
        return
    count, code = acl.rt.get_device_count()
    if code or device_id >= count:
        told = code or f"{count}, and this process was given device {device_id}"
        raise AclError("acl.rt.get_device_count", told)
    code = acl.rt.set_device(device_id)
    if code:
        raise AclError(f"acl.rt.set_device({device_id})", code)
