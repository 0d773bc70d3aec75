package example;

import com.amazonaws.services.lambda.runtime.Context;
import com.amazonaws.services.lambda.runtime.RequestHandler;
import java.util.Map;

/**
 * An HTTP request arrives as an API Gateway event (payload format 2.0); {@code mayfly invoke} passes its data as it is.
 * A map without {@code statusCode} is answered as JSON.
 */
public final class Handler implements RequestHandler<Map<String, Object>, Map<String, Object>> {
    @Override
    public Map<String, Object> handleRequest(Map<String, Object> event, Context context) {
        Object query = event.get("queryStringParameters");
        Object name = query instanceof Map<?, ?> map ? map.get("name") : event.get("name");
        String message = "hello, " + (name == null ? "world" : name);
        System.out.println(message);
        return Map.of("message", message);
    }
}
