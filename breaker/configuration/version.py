"""The version of the product; both wheels and every instance report it."""

VERSION = "0.1.0"
