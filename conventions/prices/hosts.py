"""What a `server.address` says: a host of one's own, or the public address of a seller's region."""

from __future__ import annotations

import ipaddress
import re
from typing import Final

_OWN_SUFFIXES: Final = (
    ".svc", ".local", ".internal", ".localhost", ".localdomain", ".lan", ".intranet", ".corp", ".home.arpa", ".test",
)  # fmt: skip
_REGIONS: Final = (
    # us-east5-aiplatform.googleapis.com; aiplatform.googleapis.com is the global endpoint.
    re.compile(r"(?P<region>[a-z0-9-]+)-aiplatform\.googleapis\.com"),
    # aiplatform.eu.rep.googleapis.com: a multi-region endpoint
    re.compile(r"aiplatform\.(?P<region>[a-z0-9-]+)\.rep\.googleapis\.com"),
    # bedrock-runtime.eu-west-1.amazonaws.com, bedrock-runtime-fips.us-gov-west-1.amazonaws.com
    re.compile(r"bedrock-(?:agent-)?runtime(?:-fips)?\.(?P<region>[a-z0-9-]+)\.amazonaws\.com"),
    re.compile(r"bedrock-mantle\.(?P<region>[a-z0-9-]+)\.api\.aws"),
    # eu.api.openai.com: data residency (developers.openai.com/api/docs/guides/data-residency)
    re.compile(r"(?P<region>us|eu|au|in|jp|[a-z]{2})\.api\.openai\.com"),
)


def host_of(address: str | None) -> str:
    """Return the bare host of `server.address`, which some emitters fill with a whole URL; "" for none."""
    if not address:
        return ""
    text = address.strip()[:512].lower()
    text = text.partition("://")[2] or text
    text = text.partition("/")[0].rpartition("@")[2]
    if text.startswith("["):
        return text[1:].partition("]")[0]
    return text.partition(":")[0] if text.count(":") == 1 else text


def is_own(host: str) -> bool:
    """Tell whether `host` can only be reached from inside: private, loopback, a cluster's or a single label."""
    if not host:
        return False
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        host = host.rstrip(".")
        return "." not in host or host.endswith(_OWN_SUFFIXES)
    return not address.is_global


_FIXED: Final = {
    "aiplatform.googleapis.com": "global",
    "dashscope.aliyuncs.com": "cn-beijing",  # dashscope-intl is another shop, with other prices
}


def region_of(host: str) -> str:
    """Return the region that a seller's host name tells, "" for none."""
    if host.endswith(".openai.azure.us"):
        return "us-gov"
    if host.endswith(".openai.azure.cn"):
        return "cn-azure"
    if host in _FIXED:
        return _FIXED[host]
    for pattern in _REGIONS:
        if match := pattern.fullmatch(host):
            return match["region"]
    return ""
