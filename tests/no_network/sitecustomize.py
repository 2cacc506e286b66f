"""Keeps a Python process from the network; it may still talk to itself and to this machine (loopback).

Python imports a module of this name at its start, so with this folder on PYTHONPATH every Python that a test starts
is cut off as well: notebook kernels, JupyterLab, `python -m`. tests/conftest.py does both.
"""

import errno
import ipaddress
import socket

_connect, _connect_ex, _getaddrinfo = socket.socket.connect, socket.socket.connect_ex, socket.getaddrinfo


def _is_here(host) -> bool:
    """Whether `host` is this machine: no name, localhost, its own name, or a loopback address."""
    if isinstance(host, bytes):
        host = host.decode(errors="replace")
    if not host or host in ("localhost", "0.0.0.0", "::", socket.gethostname()):
        return True
    try:
        return ipaddress.ip_address(host.split("%")[0]).is_loopback
    except ValueError:
        return False


def _allowed(sock: socket.socket, address) -> bool:
    return sock.family not in (socket.AF_INET, socket.AF_INET6) or _is_here(address[0])


def connect(self, address):
    """`socket.connect` that fails at once, as without a network, for any other machine."""
    if not _allowed(self, address):
        raise OSError(errno.ENETUNREACH, "Network is unreachable: the tests run without a network")
    return _connect(self, address)


def connect_ex(self, address):
    """`socket.connect_ex` with the same limit."""
    return _connect_ex(self, address) if _allowed(self, address) else errno.ENETUNREACH


def getaddrinfo(host, *args, **kwargs):
    """`socket.getaddrinfo` that knows no other machine's name."""
    if not _is_here(host):
        try:
            ipaddress.ip_address(host)  # a number needs no lookup; connecting to it is refused above
        except ValueError:
            raise socket.gaierror(
                socket.EAI_NONAME, "Name not known: the tests run without a network"
            ) from None
    return _getaddrinfo(host, *args, **kwargs)


socket.socket.connect, socket.socket.connect_ex, socket.getaddrinfo = connect, connect_ex, getaddrinfo
