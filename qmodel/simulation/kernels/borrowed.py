"""Arrays that are looked at without counting references to them.

Compiled code counts the references to each array that it passes on, by atomic operations that cost more than the
rest of an event loop that passes many. Whoever borrows an array sees to it that the lender keeps it alive.
"""

from __future__ import annotations

from typing import Any

from numba.core import cgutils
from numba.core.imputils import impl_ret_untracked
from numba.extending import intrinsic, overload
from numba.np.arrayobj import make_array


def borrowed(array: Any) -> Any:
    """The same array, not counted."""
    return array


@intrinsic
def _uncounted(context: Any, array: Any) -> Any:
    def build(target: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        made = make_array(signature.return_type)(target, builder, value=arguments[0])
        made.meminfo = cgutils.get_null_value(made.meminfo.type)
        return impl_ret_untracked(target, builder, signature.return_type, made._getvalue())

    return array(array), build


@overload(borrowed, strict=False)
def _borrow(array: Any) -> Any:
    return lambda array: _uncounted(array)
