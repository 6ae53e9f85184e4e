"""What the topic refuses, with the service's HTTP status and error code."""

from __future__ import annotations


class GridError(Exception):
    """A refused request: `status` and `code` go into the service's error form."""

    status = 400
    code = "BadRequest"


class UnauthorizedError(GridError):
    """The key is missing or wrong."""

    status = 401
    code = "Unauthorized"


class NotFoundError(GridError):
    """No such topic or subscription."""

    status = 404
    code = "NotFound"


class TooLargeError(GridError):
    """More than a request may carry."""

    status = 413
    code = "RequestEntityTooLarge"


class UnsupportedTypeError(GridError):
    """A content type that no schema has."""

    status = 415
    code = "UnsupportedMediaType"


class BusyError(GridError):
    """Too many deliveries are waiting for their endpoints."""

    status = 503
    code = "ServiceUnavailable"


class ValidationError(GridError):
    """The webhook did not agree to get events."""

    code = "Endpoint validation"
