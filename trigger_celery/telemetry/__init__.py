"""Traces and metrics of runs, by OpenTelemetry where it is there.

The only package that imports `opentelemetry`, and only when somebody listens: without a provider,
or switched off, `active` answers None, and that is all it costs.
"""

from __future__ import annotations

import importlib.util
import sys
from typing import TYPE_CHECKING

from trigger_celery.errors import ConfigurationError
from trigger_celery.model.telemetry_options import TelemetryOptions

if TYPE_CHECKING:
    from trigger_celery.telemetry.recorder import Telemetry

__all__ = ["active"]


def active(options: TelemetryOptions) -> Telemetry | None:
    """Return what records traces and metrics of this process, or None.

    Unless switched on or off it depends on whether the process has a provider by now.
    Raises ConfigurationError when it is switched on and OpenTelemetry is not installed.
    """
    if options.enabled is False:
        return None
    if options.enabled is None and "opentelemetry.trace" not in sys.modules:
        return None  # nobody can have set a provider
    if options.enabled and importlib.util.find_spec("opentelemetry") is None:
        raise ConfigurationError(
            "telemetry is switched on, and OpenTelemetry is not installed: "
            "pip install 'trigger-celery[otel]'"
        )
    from trigger_celery.telemetry import providers

    providers.set_up(options)
    if not (options.enabled or providers.present()):
        return None
    from trigger_celery.telemetry.recorder import Telemetry

    return Telemetry()
