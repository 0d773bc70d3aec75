def handler(event, context):
    """An HTTP request arrives as an API Gateway event (payload format 2.0); `mayfly invoke` passes its data as it is.

    A dict without `statusCode` is answered as JSON.
    """
    query = event.get("queryStringParameters") or event
    name = query.get("name", "world")
    print(f"hello, {name}")
    return {"message": f"hello, {name}"}
