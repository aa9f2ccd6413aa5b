#!/usr/bin/env python3
"""Writes the request bodies: small ones into bodies/, large ones to $GWBENCH_TMP."""

import json
import os

from stage import BODIES

SYSTEM = (
    "You are the support assistant of a small logistics company. Answer in the language of the question, "
    "in at most five sentences, and never promise a delivery date. When an order number is given, repeat it "
    "back first. If the customer is upset, acknowledge it once and move on to what can be done now. Refuse "
    "politely to discuss anything that is not about an order, an invoice, a return or opening hours."
)
TURNS = [
    (
        "user",
        "Hello, I ordered two standing desks on the 3rd (order 4471-B) and only one box has arrived. The tracking page says 'delivered' for both. Could you look into it?",
    ),
    (
        "assistant",
        "Order 4471-B: thank you for telling me. I can see two parcels under that number, and both carry the same delivery scan, which points to a scan made by mistake. I have opened a search with the carrier.",
    ),
    (
        "user",
        "Thanks. How long does such a search take, and what happens if the second box can't be found? I need both desks for an office that opens next month, so I would rather have a replacement than a refund. "
        "Also, the box that did arrive has a dent in one corner; the desk inside looks fine, but I would like that noted on the order in case the motor fails later. "
        "Last question: can the replacement be sent to the office instead, at the address that is on my invoice of last year?",
    ),
]

MIB = 1 << 20


def chat(stream=False, padding=0):
    """A chat request; with `padding`, its last message is a text of that many characters."""
    messages = [{"role": "system", "content": SYSTEM}] + [{"role": r, "content": c} for r, c in TURNS]
    if padding:
        messages[-1]["content"] = long_text(padding)
    request = {"model": "gpt-4o-mini", "messages": messages, "temperature": 0.2, "max_tokens": 256}
    return json.dumps(request | ({"stream": True} if stream else {}))


def long_text(length):
    line = "Line of a long pasted document that the user wants summarised, number {:06d}; it says nothing. "
    lines = (line.format(n) for n in range(length // len(line) + 1))
    return "".join(lines).ljust(length)[:length]


def sized(length):
    """A chat request of exactly `length` bytes."""
    return chat(padding=length - (len(chat(padding=1000)) - 1000))


def main():
    texts = {"small": chat(), "stream": chat(stream=True), "1m": sized(MIB), "4m": sized(4 * MIB)}
    for name, text in texts.items():
        path = BODIES[name]
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w") as file:
            file.write(text)
        print(f"{len(text):>9} bytes  {path}")


if __name__ == "__main__":
    main()
