#!/bin/sh
# A process for each call: the body comes on stdin, the answer goes to stdout, what goes to stderr is logged.
# The request stands in the environment: Http_Method, Http_Path, Http_Query, and Http_NAME for each header.
set -eu

echo "called with ${Http_Method:-no method}" >&2
echo "hello, world"
cat
