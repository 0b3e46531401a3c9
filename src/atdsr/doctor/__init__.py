"""What this machine is, which path the network takes on it, how fast, and what to change."""

from atdsr.doctor.advising import Advice, advice, gib
from atdsr.doctor.machine import Machine, Measurement
from atdsr.doctor.measuring import measured
from atdsr.doctor.probes import examine

__all__ = ["Advice", "Machine", "Measurement", "advice", "examine", "gib", "measured"]
