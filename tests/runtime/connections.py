"""Connections between two processes, which tests may cut as a network does now and then."""

import os
import socket

import psutil


def cut(pid: int) -> int:
    """End this process's connections with another one; both may make new ones. How many."""
    theirs = {(one.laddr, one.raddr) for one in psutil.Process(pid).net_connections("inet")}
    found = 0
    for mine in psutil.Process().net_connections("inet"):
        if mine.fd != -1 and (mine.raddr, mine.laddr) in theirs:
            with socket.socket(fileno=os.dup(mine.fd)) as ours:
                ours.shutdown(socket.SHUT_RDWR)
            found += 1
    return found
