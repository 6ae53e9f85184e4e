"""The errors of refused requests, with the service's HTTP status and error code."""

from __future__ import annotations


class GridError(Exception):
    """A refused request: `status` and `code` go into the service's error form."""

    status = 400
    code = "BadRequest"


class UnauthorizedError(GridError):
    """A missing or wrong key."""

    status = 401
    code = "Unauthorized"


class NotFoundError(GridError):
    """An unknown topic or subscription."""

    status = 404
    code = "NotFound"


class TooLargeError(GridError):
    """A request body that exceeds the size limit."""

    status = 413
    code = "RequestEntityTooLarge"


class UnsupportedTypeError(GridError):
    """A content type without a schema."""

    status = 415
    code = "UnsupportedMediaType"


class BusyError(GridError):
    """A publish request that is refused because too many deliveries are pending."""

    status = 503
    code = "ServiceUnavailable"


class ValidationError(GridError):
    """A webhook that did not complete the validation handshake."""

    code = "Endpoint validation"
