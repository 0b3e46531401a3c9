"""One function for all inputs that a command may name, on disk and in stores."""

from collections.abc import Sequence

from atdsr.base.stores import ObjectPath, locate
from atdsr.batch.config import BatchConfig, BatchError
from atdsr.batch.object_planning import plan_objects
from atdsr.batch.planning import Plan, plan_files


def plan(inputs: Sequence[str], out: str | None, config: BatchConfig) -> Plan:
    """Find the pictures that inputs name, and a name for the output of each.

    See `plan_files` for inputs on disk, and `plan_objects` for those in a store. The output may be
    in either, whatever the inputs are.

    Args:
        inputs: The inputs as a person writes them.
        out: The output as a person writes it; None puts each output beside its input.
        config: What the command asks for.

    Raises:
        BatchError, PictureError: See there; or the inputs are both on disk and in a store.
        StoreError: An address belongs to no store, or a store cannot be asked.
    """
    remote = [isinstance(locate(name), ObjectPath) for name in inputs]
    if not any(remote):
        return plan_files(inputs, out, config)
    if not all(remote):
        raise BatchError(
            f"{inputs[remote.index(False)]} is on disk, and {inputs[remote.index(True)]} is in a "
            "store; enlarge them by commands of their own."
        )
    return plan_objects(inputs, out, config)
