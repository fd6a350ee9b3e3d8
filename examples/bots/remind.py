#!/usr/bin/env python3
"""A bot that reminds: whoever writes `in 10m tea` gets `tea` ten minutes later.

    p2pchat-udp -d ~/remind -n remind daemon &
    python3 examples/bots/remind.py ~/remind/control.sock ~/remind.last

It speaks p2pchat-udp-control(7), one JSON object a line, with Python's own library alone. The second file has the id of the last
message that was dealt with: whatever ends this bot, the next run goes on behind it and misses nothing. A reminder has an id made
of that of the message, so that sending it once more is harmless.
"""

import heapq
import json
import re
import select
import socket
import sys
import time
import uuid
from collections import deque
from datetime import datetime
from pathlib import Path

SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


class Bot:
    def __init__(self, path, last):
        self.last = Path(last)
        self.open = deque()  # messages not dealt with, oldest first: [id, done]
        self.due = []  # (when, entry of `open`, call), the next one first
        self.wire = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.wire.connect(path)

    def run(self):
        after = {"after": self.last.read_text()} if self.last.exists() else {}
        self.ask({"call": "subscribe", "tag": "events", **after})
        buffer = b""
        while True:
            wait = max(0, self.due[0][0] - time.time()) if self.due else None
            if select.select([self.wire], [], [], wait)[0]:
                more = self.wire.recv(65536)
                if not more:
                    sys.exit("the owner of the profile has ended")
                *lines, buffer = (buffer + more).split(b"\n")
                for line in lines:
                    self.on_line(json.loads(line))
            while self.due and self.due[0][0] <= time.time():
                _, _, entry, call = heapq.heappop(self.due)
                self.ask(call)
                self.done(entry)

    def ask(self, call):
        self.wire.sendall(json.dumps(call).encode() + b"\n")

    def on_line(self, line):
        if line["event"] == "ready" and line.get("tag") and not self.last.exists():
            self.keep(line["after"])
        elif line["event"] == "error" and line.get("tag") == "events":
            sys.exit(line["text"])  # nothing comes any more
        elif line["event"] == "error":
            print(line["text"], file=sys.stderr)
        elif line["event"] == "message":
            self.on_message(line)

    def on_message(self, message):
        entry = [message["id"], False]
        self.open.append(entry)
        asked = re.fullmatch(r"in (\d{1,6})([smhd]) (.+)", message["text"], re.DOTALL)
        if asked:
            count, unit, text = asked.groups()
            when = datetime.fromisoformat(message["received_at"].replace("Z", "+00:00")).timestamp() + int(count) * SECONDS[unit]
            heapq.heappush(self.due, (when, entry[0], entry, self.answer(message, text)))
        else:
            self.ask(self.answer(message, "write me `in 10m tea`"))
            self.done(entry)

    @staticmethod
    def answer(message, text):
        own = str(uuid.UUID(int=uuid.UUID(message["id"]).int ^ 1))
        return {"call": "send", "peer": message["from"], "text": text, "id": own, "wait": "queued"}

    def done(self, entry):
        entry[1] = True
        while self.open and self.open[0][1]:
            self.keep(self.open.popleft()[0])

    def keep(self, last):
        new = self.last.with_suffix(".new")
        new.write_text(last)
        new.replace(self.last)  # in one step: whatever ends this bot leaves the one or the other


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    try:
        Bot(sys.argv[1], sys.argv[2]).run()
    except KeyboardInterrupt:
        pass
