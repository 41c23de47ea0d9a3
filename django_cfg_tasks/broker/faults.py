"""What Redis's errors mean, and what is raised in their place: cause and way out, and no password."""

from __future__ import annotations

import re
import ssl
from collections.abc import Iterator

from redis import exceptions

from django_cfg_tasks.config import RearqConfig, mask_url
from django_cfg_tasks.exceptions import BrokerUnavailableError, ConfigurationError

_OUTAGES = (
    exceptions.ConnectionError,
    exceptions.TimeoutError,
    # Answers whose code redis-py turns into a type, and strips from the text.
    exceptions.ReadOnlyError,
    exceptions.OutOfMemoryError,
    exceptions.ClusterDownError,
    exceptions.TryAgainError,
    # The script was forgotten between being loaded and being called, in a failover or a restart.
    exceptions.NoScriptError,
    OSError,
)
_NO_ACCESS = (exceptions.AuthenticationError, exceptions.AuthorizationError, exceptions.NoPermissionError)
# Redis before 7 has no code for it.
_NO_RIGHT_IN_SCRIPT = "The user executing the script can't "
# A failover ends a read that waits with UNBLOCKED.
_OUTAGE_CODES = {
    *("BUSY", "LOADING", "MISCONF", "OOM"),
    *("CLUSTERDOWN", "MASTERDOWN", "NOREPLICAS", "READONLY", "TRYAGAIN", "UNBLOCKED"),
}
# Where the code of Redis's answer stands: first; behind the command, in the error of a pipeline; behind the reason
# for which EXEC was refused; behind the line of the script, in Redis before 7.
_CODE = re.compile(r"""(?:^|of pipeline caused error: \(?["']|because of: |@user_script: ?\d+: )-?([A-Z]+)\b""")
# What OpenSSL calls a certificate whose time has not come or is over: the server's next one mends it.
_OF_ITS_TIME = {9, 10}
_OTHER_NAME = {62, 64}
_NO_TLS = {"WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "UNKNOWN_PROTOCOL", "PACKET_LENGTH_TOO_LONG"}
_NOT_OURS = re.compile(r"ALERT_(CERTIFICATE|BAD_CERTIFICATE|UNSUPPORTED_CERTIFICATE|UNKNOWN_CA|HANDSHAKE_FAILURE)")


class MasterNotFoundError(exceptions.ConnectionError):  # type: ignore[misc]  # redis-py 4 is not typed
    """No Sentinel could be asked, or none knows the master. The cause is that of one of them."""


def is_outage(error: BaseException) -> bool:
    """Tell whether Redis, and not the command, is at fault, so that trying again can help.

    A login that is refused is none: it needs another password, not another try.
    """
    if is_refusal(error):
        return False
    return isinstance(error, _OUTAGES) or not _OUTAGE_CODES.isdisjoint(_codes(error))


def is_refusal(error: BaseException) -> bool:
    """Tell whether Redis will not have us, or we not it, until somebody changes a setting."""
    return any(
        isinstance(cause, _NO_ACCESS) or _NO_RIGHT_IN_SCRIPT in str(cause) or _tls_way_out(cause) is not None
        for cause in _causes(error)
    )


def is_missing_group(error: BaseException) -> bool:
    """Tell whether a stream or its consumer group is gone (a wiped Redis)."""
    return "NOGROUP" in _codes(error)


def is_demotion(error: BaseException) -> bool:
    """Tell whether a replica has answered: this Redis was the master, and another one is by now."""
    return isinstance(error, exceptions.ReadOnlyError) or not {"READONLY", "UNBLOCKED"}.isdisjoint(_codes(error))


def explained(config: RearqConfig, error: BaseException) -> BrokerUnavailableError | ConfigurationError | None:
    """Return what to raise instead, where Redis and not the command is at fault. It tells no password."""
    sentinels = ", ".join(config.sentinels)
    where = f"{config.sentinel_master} of {sentinels}" if sentinels else mask_url(config.redis_url)
    # redis-py 4 leaves out what is wrong with a certificate.
    told = next((cause for cause in _causes(error) if isinstance(cause, ssl.SSLError)), error)
    what = f"{type(told).__name__}: {told}"
    if is_outage(error):
        hint = _tls_hint(error) if config.redis_url.startswith("rediss://") else ""
        return BrokerUnavailableError(f"Redis ({where}) can't be used now: {what}{hint}")
    if is_refusal(error):
        way_out = next(filter(None, map(_tls_way_out, _causes(error))), None)
        if way_out is not None:
            return ConfigurationError(f"Redis ({where}) can't be reached by TLS: {what}. {way_out}")
        fields = (
            "sentinel_username and sentinel_password, and that user's rights."
            if isinstance(error, MasterNotFoundError)
            or any(isinstance(cause, MasterNotFoundError) for cause in _causes(error))
            else "the user, the password and the rights in redis_url."
        )
        return ConfigurationError(f"Redis ({where}) refuses access: {what} Check {fields}")
    return None


def _codes(error: BaseException) -> list[str]:
    return _CODE.findall(str(error)) if isinstance(error, exceptions.ResponseError) else []


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """Give the error, and what redis-py made a connection's error of."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__ if isinstance(error, exceptions.ConnectionError) else None


def _tls_hint(error: BaseException) -> str:
    """Say what to look at, where an outage may be a matter of TLS."""
    if "Timeout connecting" in str(error):
        return ". A Redis that speaks no TLS at this port is silent: use its TLS port, or redis://."
    if any(isinstance(cause, ssl.SSLEOFError | ConnectionResetError) for cause in _causes(error)):
        # The alert that says so gets lost where we write at that moment.
        return ". If it wants a certificate from us: ssl_certfile and ssl_keyfile, in the query of redis_url."
    return ""


def _tls_way_out(error: BaseException) -> str | None:
    """Say what to change, where TLS fails for good."""
    if isinstance(error, ssl.SSLCertVerificationError):
        if error.verify_code in _OF_ITS_TIME:
            return None
        if error.verify_code in _OTHER_NAME:
            return (
                "Use the name that its certificate was made for (of Sentinels: let them announce host names), or add "
                "ssl_check_hostname=false to the query of redis_url."
            )
        return "Name the file with the CA that signed its certificate: rediss://…?ssl_ca_certs=/path/to/ca.crt"
    if isinstance(error, ssl.SSLError):
        reason = error.reason or ""
        if reason in _NO_TLS:
            return "No TLS is spoken there: use its TLS port, or redis:// in place of rediss://."
        if _NOT_OURS.search(reason):
            return (
                "It wants a certificate that it trusts from us: "
                "rediss://…?ssl_certfile=/path/to/client.crt&ssl_keyfile=/path/to/client.key"
            )
    return None


__all__ = ["MasterNotFoundError", "explained", "is_demotion", "is_missing_group", "is_outage", "is_refusal"]
