"""The network: its configuration, its modules, and the kernels that compute them faster."""

from atdsr.network.config import ATDConfig, ConfigError, atd, atd_light
from atdsr.network.model import ATD

__all__ = ["ATD", "ATDConfig", "ConfigError", "atd", "atd_light"]
