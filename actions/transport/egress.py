"""Where actions may connect to: public addresses only, unless ``EGRESS_ALLOW`` names the host or CIDR.

Law: the address is judged that is connected to, whatever spelling, redirect or name server led to it. An
address that carries another one (IPv4-mapped, NAT64) is judged by that one. A refusal says why.
"""

import errno
import re
import socket
from collections.abc import Iterable
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any, NamedTuple

from yarl import URL

from actions.exchange import Failure

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_HOST = re.compile(r"[A-Za-z0-9_.-]{1,254}")
_NUMBER_LAST = re.compile(r"(^|\.)(0[xX][0-9A-Fa-f]*|[0-9]+)\.?$")
_FOUR_NUMBERS = re.compile(r"((0|[1-9][0-9]{0,2})\.){3}(0|[1-9][0-9]{0,2})")
_NAT64 = IPv6Network("64:ff9b::/96")
_GLOBAL_UNICAST = IPv6Network("2000::/3")

# The standard library's ``is_global`` differs between versions; what must never be reached is listed here. The
# first network that holds an address says why it is refused.
_DENIED: tuple[tuple[Network, str], ...] = tuple(
    (ip_network(network), reason)
    for reason, networks in (
        # The services that clouds give to their hosts: names, credentials, configuration.
        ("metadata", ("169.254.169.254", "169.254.170.2", "169.254.170.23", "168.63.129.16", "100.100.100.200",
                      "192.0.0.192", "fd00:ec2::254", "fd00:ec2::23", "fd20:ce::254")),
        ("loopback", ("127.0.0.0/8", "::1")),
        ("unspecified", ("0.0.0.0/8", "::")),
        ("private", ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7", "fec0::/10")),
        ("shared", ("100.64.0.0/10",)),
        ("link_local", ("169.254.0.0/16", "fe80::/10")),
        ("multicast", ("224.0.0.0/4", "ff00::/8")),
        ("broadcast", ("255.255.255.255",)),
        ("documentation", ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "2001:db8::/32", "3fff::/20")),
        ("benchmark", ("198.18.0.0/15", "2001:2::/48")),
        ("tunnel", ("192.88.99.0/24", "2001::/32", "2002::/16", "::/96", "::ffff:0:0:0/96", "64:ff9b:1::/48")),
        ("reserved", ("192.0.0.0/24", "240.0.0.0/4", "100::/64", "2001::/23", "5f00::/16")),
    )
    for network in networks
)  # fmt: skip


class EgressDenied(OSError):
    """A connection to an address that actions may not reach. ``reason`` says why in a word."""

    def __init__(self, reason: str) -> None:
        # One text for all addresses: the attempts at a name's addresses come together as one error, the first.
        super().__init__(errno.EACCES, "the address is not one that actions may reach")
        self.reason = reason


class EgressPolicy(NamedTuple):
    """What is allowed beyond public addresses.

    ``hosts``: names in lower case with their port, ``None`` = any; ``domains``: likewise, for all names that end
    so; ``networks``: for all ports.
    """

    hosts: frozenset[tuple[str, int | None]] = frozenset()
    domains: tuple[tuple[str, int | None], ...] = ()
    networks: tuple[Network, ...] = ()

    def allows_host(self, host: str, port: int) -> bool:
        """Whether the host is named, so that its addresses need no check."""
        name = host.lower().rstrip(".")
        if (name, None) in self.hosts or (name, port) in self.hosts:
            return True
        return any(name.endswith(ending) and only in (None, port) for ending, only in self.domains)

    def refusal(self, text: str, port: int) -> str | None:
        """Why a connection to this address and port is refused, in a word; ``None`` = it is not."""
        try:
            address = ip_address(text)
        except ValueError:
            return "no_address"
        carried = _carried(address)
        if any(_within(one, network) for one in (address, carried) for network in self.networks):
            return None
        for network, reason in _DENIED:
            if _within(carried, network):
                return reason
        if not carried.is_global or (isinstance(carried, IPv6Address) and carried not in _GLOBAL_UNICAST):
            return "reserved"
        if isinstance(address, IPv6Address) and address.scope_id is not None:
            return "zone"
        return None if _usual_port(port) else "port"


def egress_policy(allowed: Iterable[str]) -> EgressPolicy:
    """The policy of ``EGRESS_ALLOW``: each entry is an address or CIDR, else a host.

    A host may begin with ``*.``, for all names below it, and end with a port, for that one only.
    """
    hosts: set[tuple[str, int | None]] = set()
    domains: list[tuple[str, int | None]] = []
    networks: list[Network] = []
    for entry in allowed:
        try:
            networks.append(ip_network(entry.strip("[]"), strict=False))
            continue
        except ValueError:
            pass
        name, _, port = entry.lower().partition(":")
        name, only = name.rstrip("."), int(port) if port else None
        if name.startswith("*."):
            domains.append((name[1:], only))
        else:
            hosts.add((name, only))
    return EgressPolicy(frozenset(hosts), tuple(domains), tuple(networks))


# Few addresses are asked again and again.
@lru_cache(maxsize=4_096)
def checked_url(text: str) -> URL | Failure:
    """The URL that will be connected to, read by the parser that connects; or why it is refused unasked."""
    try:
        url = URL(text)
        port = url.port
    except ValueError:
        return Failure("invalid_url", final=True)
    if url.scheme not in ("http", "https"):
        return Failure("invalid_url: scheme" if url.scheme else "invalid_url", final=True)
    host = url.raw_host
    if not host or not port:
        return Failure("invalid_url", final=True)
    if ":" not in host and not _HOST.fullmatch(host):
        return Failure("invalid_url: host", final=True)
    # Resolvers take such numbers for addresses, each in a way of its own.
    if _NUMBER_LAST.search(host) and not _FOUR_NUMBERS.fullmatch(host):
        return Failure("invalid_url: address", final=True)
    if url.raw_user is not None or url.raw_password is not None:
        return Failure("credentials_in_url", final=True)
    return url


def guarded_socket(policy: EgressPolicy, info: tuple[Any, ...]) -> socket.socket:
    """A socket for a connection to ``info``, as ``getaddrinfo`` gives it. Raises ``EgressDenied``."""
    family, kind, protocol, _, address = info
    text = str(address[0])
    if len(address) == 4 and address[3] and "%" not in text:
        text += f"%{address[3]}"
    reason = policy.refusal(text, int(address[1]))
    if reason is not None:
        raise EgressDenied(reason)
    return socket.socket(family, kind, protocol)


def _carried(address: Address) -> Address:
    """The IPv4 address that an IPv6 one stands for, else the address itself."""
    if isinstance(address, IPv4Address):
        return address
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFF_FFFF)
    return address


def _within(address: Address, network: Network) -> bool:
    return address.version == network.version and address in network


def _usual_port(port: int) -> bool:
    return port in (80, 443) or port >= 1024
