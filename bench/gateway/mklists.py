#!/usr/bin/env python3
"""Writes the CIDR lists, as each contestant reads them, to $GWBENCH_TMP/lists.

Every list has N entries (90 % IPv4 /20../32, 10 % IPv6 /40../64), none of which covers loopback, except the last one:
127.0.0.1/32. So 127.0.0.1 is allowed, by the entry that a linear scan reaches last among the IPv4 ones, and
127.0.0.66 is denied after the whole list was looked at.
"""

import ipaddress
import os
import random

from stage import TMP

FOLDER = os.path.join(TMP, "lists")
SIZES = {"10": 10, "1k": 1000, "100k": 100_000}
IPV4_LENGTHS = [20, 22, 24, 24, 24, 26, 28, 30, 32, 32, 32]
IPV6_LENGTHS = [40, 44, 48, 56, 64]


def ranges(count):
    """The same ones at every call."""
    dice = random.Random(4711)
    found = {}
    while len(found) < count - 1:
        range_ = ipv4(dice) if dice.random() < 0.9 else ipv6(dice)
        if not range_.overlaps(ipaddress.ip_network("127.0.0.0/8" if range_.version == 4 else "::1")):
            found[str(range_)] = None
    return [*found, "127.0.0.1/32"]


def ipv4(dice):
    address, length = dice.randrange(1 << 24, 223 << 24), dice.choice(IPV4_LENGTHS)
    return ipaddress.IPv4Network((address, length), strict=False)


def ipv6(dice):
    address, length = (0x2001 << 112) | dice.getrandbits(112), dice.choice(IPV6_LENGTHS)
    return ipaddress.IPv6Network((address, length), strict=False)


def write(name, lines):
    with open(os.path.join(FOLDER, name), "w") as file:
        file.writelines(f"{line}\n" for line in lines)


def main():
    os.makedirs(FOLDER, exist_ok=True)
    for name, count in SIZES.items():
        entries = ranges(count)
        write(f"{name}.txt", entries)
        write(f"{name}.yaml", ["allow:", *(f'  - "{entry}"' for entry in entries)])
        write(f"{name}.allow.conf", [*(f"allow {entry};" for entry in entries), "deny all;"])
        write(f"{name}.geo.conf", [f"{entry} 1;" for entry in entries])
        print(f"{name}: {len(entries)} entries")


if __name__ == "__main__":
    main()
