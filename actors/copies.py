"""How long copies between host and card take, so that they can be kept apart from execution.

The library times nothing: a call to ``predict`` copies the inputs to the card, executes, and copies
the outputs back. So the same bytes are copied by pyACL, tensor by tensor from pinned memory as the
library does (single_op_session.cc:307 of MindSpore Lite 2.7), in a throw-away process. An estimate:
nothing here was compared with a card. ``python -m actors.copies DEVICE SIZES`` is that process.
"""

import json
import statistics
import sys
import time
from collections.abc import Sequence
from typing import Any

from actors import device
from actors.machine import pyacl
from actors.machine.child import ChildError, run_module
from actors.machine.leaving import leave

#: Bytes of each input, and of each output.
Tensors = tuple[Sequence[int], Sequence[int]]

#: aclrtMemMallocPolicy: huge pages first, as the library allocates. aclrtMemcpyKind.
_HUGE_FIRST, _TO_DEVICE, _TO_HOST = 0, 1, 2
#: Timed copies of each tensor, after one that is not timed.
_CALLS = 5
_TIMEOUT_SECONDS = 120.0


def copy_milliseconds(sizes: Sequence[Tensors], npu_id: str) -> tuple[tuple[float, float], ...]:
    """Milliseconds in and out for each of ``sizes``; none where nobody can tell (no pyACL)."""
    try:
        answer = run_module(
            "actors.copies",
            ["0", json.dumps([[list(ins), list(outs)] for ins, outs in sizes])],
            timeout_seconds=_TIMEOUT_SECONDS,
            env={device.VISIBLE: device.number_of(npu_id)} if npu_id else {},
        )
        found: list[list[float]] = json.loads(answer.strip().splitlines()[-1])
    except (ChildError, ValueError, IndexError):
        return ()
    return tuple((into, out) for into, out in found)


def main(device_id: str, sizes: str) -> None:
    """The throw-away process: milliseconds as the last line; nothing where pyACL does not work."""
    wanted: list[list[list[int]]] = json.loads(sizes)
    try:
        acl = pyacl.import_acl()
        pyacl.start(acl, int(device_id))
        found = [[_copied(acl, ins, _TO_DEVICE), _copied(acl, outs, _TO_HOST)]
                 for ins, outs in wanted]  # fmt: skip
    except (pyacl.NoAclError, pyacl.AclError, ValueError) as error:
        sys.stderr.write(f"{error}\n")
        leave(1)
    else:
        sys.stdout.write(f"\n{json.dumps(found)}\n")
        leave()


def _copied(acl: Any, sizes: Sequence[int], kind: int) -> float:  # noqa: ANN401 - no types
    return sum(_one(acl, nbytes, kind) for nbytes in sizes if nbytes)


def _one(acl: Any, nbytes: int, kind: int) -> float:  # noqa: ANN401 - no types
    """Median milliseconds of a copy of so many bytes."""
    there, code = acl.rt.malloc(nbytes, _HUGE_FIRST)
    _require(code)
    here, code = acl.rt.malloc_host(nbytes)
    _require(code)
    target, source = (there, here) if kind == _TO_DEVICE else (here, there)
    spent = []
    for _ in range(1 + _CALLS):
        began = time.perf_counter()
        _require(acl.rt.memcpy(target, nbytes, source, nbytes, kind))
        spent.append(time.perf_counter() - began)
    acl.rt.free_host(here)
    acl.rt.free(there)
    return statistics.median(spent[1:]) * 1e3


def _require(code: int) -> None:
    if code:
        raise ValueError(f"pyACL answered {code}")


if __name__ == "__main__":
    main(*sys.argv[1:])
