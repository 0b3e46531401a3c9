"""What this machine is, which path the network takes on it, how fast, and what to change."""

from atdsr.reports.doctor.advising import Advice, advice
from atdsr.reports.doctor.machine import Machine, Measurement
from atdsr.reports.doctor.measuring import measured
from atdsr.reports.doctor.probes import examine

__all__ = ["Advice", "Machine", "Measurement", "advice", "examine", "measured"]
