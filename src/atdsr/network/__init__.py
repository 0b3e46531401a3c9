"""The network: its configuration, its modules, and the kernels that compute them faster."""

from atdsr.network.config import ATDConfig, ConfigError, atd, atd_light, atd_light_v2, atd_v2
from atdsr.network.model import ATD

__all__ = ["ATD", "ATDConfig", "ConfigError", "atd", "atd_light", "atd_light_v2", "atd_v2"]
