"""References to secrets that the platform did not resolve.

On Azure a setting may name a secret, as `@Microsoft.KeyVault(...)` or
`@Microsoft.AppConfiguration(...)`. The platform replaces the reference by the secret's value before
the app starts. Without the right to read the secret, and in every file of settings that was copied
from Azure, the app gets the text of the reference instead.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

_REFERENCE = re.compile(r"\s*[\"']?@Microsoft\.(KeyVault|AppConfiguration)\(", re.IGNORECASE)


def unresolved(text: str) -> str | None:
    """Return what is wrong with the value of a setting, in words, if the value is a reference.

    The words follow the setting's name, and do not quote the reference. None: it is none.
    """
    found = _REFERENCE.match(text)
    if found is None:
        return None
    kind = "a Key Vault" if found[1].lower() == "keyvault" else "an App Configuration"
    return f"is {kind} reference that the platform did not resolve"


def unresolved_settings(settings: Mapping[str, str]) -> Iterator[str]:
    """Yield the names of all settings whose values are references."""
    return (name for name in sorted(settings) if unresolved(settings[name]))
