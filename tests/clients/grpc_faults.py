"""What goes wrong on the way of a gRPC call, as gRPC's own client sees it; ends with an assertion where it is not so."""

import queue
import sys
import time

import grpc

channel = grpc.insecure_channel(sys.argv[1])
Code = grpc.StatusCode


def fails(method, want, part, payload=b"x", timeout=60, metadata=()):
    begun = time.monotonic()
    try:
        channel.unary_unary(method)(payload, timeout=timeout, metadata=metadata)
    except grpc.RpcError as error:
        got = (error.code(), error.details())
        assert got[0] is want and part in got[1], (method, got)
        return time.monotonic() - begun
    raise AssertionError(f"{method} did not fail")


# The function's own time, which is shorter than the caller's.
took = fails("/t.Words/Wait", Code.DEADLINE_EXCEEDED, "function_timeout")
assert 1 < took < 20, took
print("its timeout")

# A message over `request_max`, and a stream that turns out so in its midst.
fails("/t.Words/Take", Code.RESOURCE_EXHAUSTED, "request_too_large", b"x" * 300_000)
words = queue.Queue()
call = channel.stream_stream("/t.Words/Shout")(iter(words.get, None), timeout=30)
words.put(b"a")
assert next(call) == b"A"
for _ in range(5):
    words.put(b"x" * 30_000)
try:
    list(call)
    raise AssertionError("too much was taken")
except grpc.RpcError as error:
    assert error.code() is Code.RESOURCE_EXHAUSTED, (error.code(), error.details())
print("too large")

# Refused before any instance is asked.
fails("/t.Guarded/Any", Code.UNAUTHENTICATED, "access_denied")
try:
    channel.unary_unary("/t.Limited/Any")(b"x", timeout=30)
except grpc.RpcError:
    pass
fails("/t.Limited/Any", Code.RESOURCE_EXHAUSTED, "rate_limited")
print("refused")

# A process that ends during the call.
fails("/t.Words/Die", Code.UNAVAILABLE, "function_exited")
print("died")

# A caller that gives up: the function hears it.
words = queue.Queue()
call = channel.stream_stream("/t.Words/Shout")(iter(words.get, None), timeout=30)
words.put(b"a")
assert next(call) == b"A"
call.cancel()
words.put(None)
print("cancelled")

# More at once than one connection has streams: the client waits, and all are answered.
calls = [channel.unary_unary("/t.Words/Take").future(b"x", timeout=60) for _ in range(600)]
assert all(call.result() == b"1" for call in calls)
print("six hundred at once")
