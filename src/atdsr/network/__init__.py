"""The network: its configuration, its modules, and the kernels that compute them faster."""

from atdsr.network.model import ATD, ATDConfig, ConfigError, atd, atd_light

__all__ = ["ATD", "ATDConfig", "ConfigError", "atd", "atd_light"]
