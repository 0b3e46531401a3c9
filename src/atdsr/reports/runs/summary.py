"""What a run has come to, in a few words."""

import time

from atdsr.base import units
from atdsr.reports.runs.reading import Run


def facts(run: Run) -> dict[str, str]:
    """What a run is and has come to, by name; what its log does not say is left out."""
    start = run.starts[-1] if run.starts else None
    last = run.lines[-1] if run.lines else None
    total, restarts = run.iterations, len(run.starts) - 1
    done = f"{run.step:,} of {total:,} ({run.step / total:.0%})" if total else f"{run.step:,}"
    found = {
        "step": done,
        "parameters": f"{start.parameters:,}" if start and start.parameters else "",
        "pictures": f"{start.pictures:,}" if start and start.pictures else "",
        "device": _device(start.device, start.ranks) if start else "",
        "loss": f"{units.significant(last.loss, 4)}, lately {units.significant(run.recent_loss, 4)}"
        if last
        else "",
        "learning rate": units.learning_rate(last.lr) if last else "",
        "speed": units.iteration_rate(run.pace),
        "waiting for data": units.percent(run.wait),
        "memory": units.byte_size(last.memory or None) if last else "",
        "trained": units.duration(run.seconds) if run.lines else "",
        "to go": units.duration((total - run.step) * run.pace) if total > run.step else "",
        "skipped steps": f"{last.skipped:,}" if last and last.skipped else "",
        "restarts": f"{restarts:,}" if restarts > 0 else "",
        "last written": written(run),
        "unread lines": f"{run.unread:,}" if run.unread else "",
    }
    return {name: text for name, text in found.items() if text not in ("", units.UNKNOWN)}


def _device(device: str, ranks: int) -> str:
    return f"{device}, {ranks} processes" if ranks > 1 else device


def written(run: Run) -> str:
    """When the log was written to last, by the clock on the wall."""
    try:
        return time.strftime("%Y-%m-%d %H:%M", time.localtime(run.written))
    except (OverflowError, ValueError, OSError):  # a time that no calendar has
        return units.UNKNOWN
