#!/bin/sh
# A process for each call: the body comes on stdin, the answer goes to stdout, the request stands in the environment.
set -eu

echo "method: ${Http_Method:-}, path: ${Http_Path:-}, query: ${Http_Query:-}, type: ${Http_Content_Type:-}"
# Every request header is a variable; this one is `X-Name`.
if [ -n "${Http_X_Name:-}" ]; then
    echo "hello, $Http_X_Name"
fi
tr '[:lower:]' '[:upper:]'
