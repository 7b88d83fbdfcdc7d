"""Memory by its address, for kernels that are compiled to object code (`domadapt.builtin.object_code`).

Such a kernel is given addresses as int64 and looks at them as arrays; nothing says whether they are right.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

# error_model: a division by zero gives infinity, not an exception, and loops with divisions are vectorised
inlined = numba.njit(error_model="numpy")


@intrinsic  # type: ignore[untyped-decorator]
def pointer(context: Any, address: Any) -> Any:
    """An address as numba's pointer."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.inttoptr(arguments[0], cgutils.voidptr_t)

    return types.voidptr(types.int64), code


@inlined
def bytes_at(address, count):  # type: ignore[no-untyped-def]
    return numba.carray(pointer(address), count, np.uint8)


@inlined
def halves_at(address, count):  # type: ignore[no-untyped-def]
    return numba.carray(pointer(address), count, np.uint16)


@inlined
def words_at(address, count):  # type: ignore[no-untyped-def]
    return numba.carray(pointer(address), count, np.uint32)


@inlined
def longs_at(address, count):  # type: ignore[no-untyped-def]
    return numba.carray(pointer(address), count, np.int64)


@inlined
def entries_at(address, count):  # type: ignore[no-untyped-def]
    return numba.carray(pointer(address), count, np.uint64)


@inlined
def reals_at(address, count):  # type: ignore[no-untyped-def]
    return numba.carray(pointer(address), count, np.float32)


@inlined
def doubles_at(address, count):  # type: ignore[no-untyped-def]
    return numba.carray(pointer(address), count, np.float64)
