"""The commands."""

from twostream import registry

CONF = str(registry.CONF)
