"""Calls examples/web-grpc as any gRPC client would; ends with an assertion where something is not as it was sent."""

import queue
import sys
import time

import grpc

channel = grpc.insecure_channel(sys.argv[1])
SERVICE = "/mayfly.example.Words/"

# Bidirectional: the second word is sent only after the first has come back.
words, answers = queue.Queue(), []
call = channel.stream_stream(SERVICE + "Shout")(iter(words.get, None), timeout=30)
for word in (b"one", b"two", b"x" * 300_000):
    words.put(word)
    answers.append(next(call))
words.put(None)
assert list(call) == []
assert answers == [b"ONE", b"TWO", b"X" * 300_000], [len(a) for a in answers]
assert ("x-said", "hello") in [tuple(pair) for pair in call.initial_metadata()], call.initial_metadata()
assert ("x-count", "3") in [tuple(pair) for pair in call.trailing_metadata()], call.trailing_metadata()
assert call.code() is grpc.StatusCode.OK
print("bidirectional streams and trailers")


def failure(method, timeout, channel=channel):
    try:
        channel.unary_unary(method)(b"cake", timeout=timeout)
    except grpc.RpcError as error:
        return error.code(), error.details()
    raise AssertionError(f"{method} did not fail")


# The function's own refusal.
assert failure(SERVICE + "Refuse", 30) == (grpc.StatusCode.INVALID_ARGUMENT, "no cake here")
print("refusals")

# The caller's deadline.
begun = time.monotonic()
assert failure(SERVICE + "Wait", 0.5)[0] is grpc.StatusCode.DEADLINE_EXCEEDED
assert time.monotonic() - begun < 5
print("deadlines")

# The platform's own faults are told in gRPC's words.
code, details = failure("/nobody.Here/Call", 30)
assert code is grpc.StatusCode.UNIMPLEMENTED and "route_not_found" in details, (code, details)
print("faults")

# The function's time is over before the caller's.
code, details = failure(SERVICE + "Wait", 60) if "--timeout" in sys.argv else (grpc.StatusCode.DEADLINE_EXCEEDED, "")
assert code is grpc.StatusCode.DEADLINE_EXCEEDED, (code, details)

# Many at once on one connection.
calls = [channel.stream_stream(SERVICE + "Shout")(iter([b"a"] * 20), timeout=30) for _ in range(20)]
assert all(list(call) == [b"A"] * 20 for call in calls)
print("twenty calls at once")
