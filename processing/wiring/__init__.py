"""The wiring: builds every client and every store from the app settings."""

from processing.wiring.wiring import Wiring

__all__ = ["Wiring"]
