"""Where actions may connect to: public addresses only, unless ``EGRESS_ALLOW`` names the host or CIDR.

Law: the address is judged that is connected to, whatever spelling, redirect or name server led to it. An
address that carries another one (IPv4-mapped, NAT64) is judged by that one.
"""

import errno
import socket
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any, NamedTuple

from yarl import URL

from actions.exchange import Failure

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_NAT64 = IPv6Network("64:ff9b::/96")

# The standard library's ``is_global`` differs between versions; what must never be reached is listed here.
_DENIED = tuple(
    ip_network(network)
    for network in (
        "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12",
        "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15",
        "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4",
        "168.63.129.16/32",  # the host's own services in Azure, though the address is public
        "::/96", "64:ff9b:1::/48", "100::/64", "2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20",
        "5f00::/16", "fc00::/7", "fe80::/10", "fec0::/10", "ff00::/8",
    )
)  # fmt: skip


class EgressDenied(OSError):
    """A connection to an address that actions may not reach."""

    def __init__(self) -> None:
        # One text for all addresses: the attempts at a name's addresses come together as one error.
        super().__init__(errno.EACCES, "the address is not one that actions may reach")


class EgressPolicy(NamedTuple):
    """What is allowed beyond public addresses: host names (lower-case) and networks."""

    hosts: frozenset[str]
    networks: tuple[Network, ...]

    def allows_host(self, host: str) -> bool:
        """Whether the host is named, so that its addresses need no check."""
        return host.lower().rstrip(".") in self.hosts

    def refuses_address(self, text: str, port: int) -> bool:
        """Whether a connection to this address and port is refused."""
        try:
            address = ip_address(text)
        except ValueError:
            return True
        carried = _carried(address)
        if any(_within(one, network) for one in {address, carried} for network in self.networks):
            return False
        return not _usual_port(port) or not _public(address, carried)


def egress_policy(allowed: Iterable[str]) -> EgressPolicy:
    """The policy of ``EGRESS_ALLOW``: each entry is an address or CIDR, else a host name."""
    hosts, networks = set(), []
    for entry in allowed:
        try:
            networks.append(ip_network(entry.strip("[]"), strict=False))
        except ValueError:
            hosts.add(entry.lower().rstrip("."))
    return EgressPolicy(frozenset(hosts), tuple(networks))


def checked_url(text: str) -> URL | Failure:
    """The URL that will be connected to, read by the parser that connects; or why it is refused unasked."""
    try:
        url = URL(text)
        port = url.port
    except ValueError:
        return Failure("invalid_url", final=True)
    if url.scheme not in ("http", "https") or not url.host or not port:
        return Failure("invalid_url", final=True)
    if url.user is not None or url.password is not None:
        return Failure("credentials_in_url", final=True)
    return url


def guarded_socket(policy: EgressPolicy, info: tuple[Any, ...]) -> socket.socket:
    """A socket for a connection to ``info``, as ``getaddrinfo`` gives it. Raises ``EgressDenied``."""
    family, kind, protocol, _, address = info
    if policy.refuses_address(str(address[0]), int(address[1])):
        raise EgressDenied
    return socket.socket(family, kind, protocol)


def _public(address: Address, carried: Address) -> bool:
    if carried is not address:
        return _public(carried, carried)
    return address.is_global and not any(_within(address, network) for network in _DENIED)


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
