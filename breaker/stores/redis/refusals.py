"""The answers of a Redis server that takes no writes, and what an operator does about each.

Such a server answers reads, so a read does not show that it is usable. A script reports the error
of its command in another form, which differs from version to version.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from types import MappingProxyType

from redis.exceptions import BusyLoadingError, ResponseError

_ADVICE = MappingProxyType(
    {
        "READONLY": "the server is a replica; if no failover is under way, check that REDIS_URL "
        "leads to the primary",
        "NOREPLICAS": "fewer replicas are connected than the server's min-replicas-to-write; "
        "check the replicas",
        "MISCONF": "the server cannot save its data; check its disk and its log",
        "NOPERM": "the ACL of the user in REDIS_URL denies it; give the user the rights of "
        "docs/operations.md",
        "MASTERDOWN": "the server is a replica that has lost its primary; check the primary",
        "LOADING": "the server loads its data after a start; wait until it has loaded",
        "OOM": "the server has reached its maxmemory; give it more memory, or redrive parked "
        "events",
        "CLUSTERDOWN": "slots of the cluster have no primary; check the cluster's nodes",
        "UNBLOCKED": "the server has become a replica; if no failover is under way, check that "
        "REDIS_URL leads to the primary",
    }
)
# Redis 6.2 sends a script's error as "Error running script (...): ...: -CODE text", and redis-py
# quotes a pipeline's command before the error.
_CODE = re.compile(rf"(?:^|: -|caused error: )({'|'.join(_ADVICE)})\b")
_DENIED = re.compile(r"^ACL failure in script|The user executing the script can't run this command")
_REPLICA = re.compile(r"read.?only.*replica|replica.*read.?only", re.IGNORECASE)
_SCRIPT = re.compile(r"^Error running script \([^)]*\): (?:@\w+: ?\d+: )*-?|@user_script: ?\d+: -?")
_PLACE = re.compile(r" script: \w+, on @user_script:\d+\.?$")


@dataclass(frozen=True, slots=True)
class Refusal:
    """An answer of a server that takes no writes.

    Attributes:
        code: the first word of Redis's error; empty for an error that this module does not know.
        detail: the rest of the error.
    """

    code: str
    detail: str

    @property
    def is_of_the_node(self) -> bool:
        """Return whether another node behind the same address may take the write.

        An ACL holds for open connections at once, so a new connection changes nothing. A full
        server is no other server, and its replica has the same data.
        """
        return self.code not in {"NOPERM", "OOM"}

    @property
    def is_full(self) -> bool:
        """Return whether the server only has no memory left."""
        return self.code == "OOM"

    def __str__(self) -> str:
        if not self.code:
            return f"Redis answers but takes no writes: {self.detail}"
        return f"Redis answers but takes no writes: {self.code} {self.detail}; {_ADVICE[self.code]}"


def refusal_in(error: BaseException) -> Refusal | None:
    """Return the refusal that an error of redis-py stands for, or None."""
    if not isinstance(error, ResponseError | BusyLoadingError):
        return None
    status = getattr(error, "status_code", None)
    return _refusal(str(error), status if isinstance(status, str) else "")


def refusal_of(text: str) -> Refusal:
    """Return the refusal that a script has caught as an error of its write."""
    return _refusal(text.removeprefix("ERR "), "") or Refusal("", text)


def explained(error: BaseException) -> str:
    """Return an error of redis-py as a text for an operator, who learns of a refusal what to do."""
    refusal = refusal_in(error)
    return str(refusal or f"{type(error).__name__}: {str(error) or 'no answer in time'}")


def _refusal(text: str, code: str) -> Refusal | None:
    if code not in _ADVICE:
        if found := _CODE.search(text):
            code = found[1]
        elif _DENIED.search(text):
            code = "NOPERM"
        elif _REPLICA.search(text):
            code = "READONLY"
        else:
            return None
    detail = _PLACE.sub("", _SCRIPT.sub("", text)).strip().removeprefix(f"{code} ")
    return Refusal(code, detail.partition("\n")[0].strip().removesuffix("."))
