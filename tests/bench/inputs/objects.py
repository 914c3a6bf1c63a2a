# SPDX-License-Identifier: Apache-2.0
"""Builds and drops many small objects: records, strings, nested lists, dictionaries and JSON text."""
import hashlib
import json


class Record:
    __slots__ = ("key", "words", "links")

    def __init__(self, key, words):
        self.key = key
        self.words = words
        self.links = []


def build(count):
    records = {}
    for number in range(count):
        key = f"record-{number * 7919 % count}"
        records[key] = Record(key, [f"word{number % 97}", "x" * (number % 61), str(number * number)])
    keys = sorted(records)
    for position, key in enumerate(keys):
        records[key].links = [records[keys[(position * step + 1) % count]] for step in (2, 3, 5)]
    return records


def main():
    digest = hashlib.sha256()
    for generation in range(3):
        records = build(50000 + 10000 * generation)
        text = json.dumps({key: record.words for key, record in sorted(records.items())[::3]})
        digest.update(text.encode())
        table = json.loads(text)
        digest.update(str(sum(len(word) for words in table.values() for word in words)).encode())
        digest.update("".join(record.links[generation % 3].key for record in records.values()).encode())
    print(digest.hexdigest())


main()
