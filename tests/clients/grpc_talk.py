"""Calls all the time in the background, and holds one stream open; each line of stdin is an order."""

import queue
import sys
import threading

import grpc

channel = grpc.insecure_channel(sys.argv[1])
counts = {"ok": 0}
failures = []


def load():
    take = channel.unary_unary("/t.Words/Take")
    while True:
        try:
            take(b"x", timeout=30)
            counts["ok"] += 1
        except grpc.RpcError as error:
            failures.append(f"{error.code()} {error.details()}")


threading.Thread(target=load, daemon=True).start()
words = queue.Queue()
stream = channel.stream_stream("/t.Words/Shout")(iter(words.get, None), timeout=100)
for order in sys.stdin:
    verb, _, word = order.strip().partition(" ")
    try:
        if verb == "say":
            words.put(word.encode())
            print(next(stream).decode(), flush=True)
        elif verb == "count":
            print(counts["ok"], len(failures), failures[:3], flush=True)
        elif verb == "close":
            words.put(None)
            print(len(list(stream)), stream.code().name, flush=True)
    except grpc.RpcError as error:
        print("failed", error.code(), error.details(), flush=True)
