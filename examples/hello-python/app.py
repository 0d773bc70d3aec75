import json


def handler(event, context):
    """An HTTP request comes as an API Gateway event, format 2.0; `mayfly invoke` passes its data as it is."""
    event = event or {}  # no data
    if "n" in event:
        return {"n": event["n"] + 1}
    answer = {
        "message": "hello from python",
        "path": event.get("rawPath"),
        "query": event.get("queryStringParameters") or {},
    }
    return {"statusCode": 200, "headers": {"content-type": "application/json"}, "body": json.dumps(answer)}
