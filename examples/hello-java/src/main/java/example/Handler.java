package example;

import com.amazonaws.services.lambda.runtime.Context;
import com.amazonaws.services.lambda.runtime.RequestHandler;
import java.util.Map;

/** An HTTP request comes as an API Gateway event, format 2.0; {@code mayfly invoke} passes its data as it is. */
public final class Handler implements RequestHandler<Map<String, Object>, Map<String, Object>> {
    @Override
    public Map<String, Object> handleRequest(Map<String, Object> event, Context context) {
        if (event == null) {
            event = Map.of(); // no data
        }
        if (event.get("n") instanceof Number n) {
            return Map.of("n", n.longValue() + 1);
        }
        Object query = event.getOrDefault("queryStringParameters", Map.of());
        String body = "{\"message\":\"hello from java\",\"path\":" + quoted(event.get("rawPath"))
                + ",\"query\":" + object((Map<?, ?>) query) + "}";
        return Map.of("statusCode", 200, "headers", Map.of("content-type", "application/json"), "body", body);
    }

    // Two small writers instead of a JSON library: the client brings one, but keeps it to itself.

    private static String object(Map<?, ?> fields) {
        StringBuilder out = new StringBuilder("{");
        fields.forEach((key, value) -> out.append(out.length() > 1 ? "," : "").append(quoted(key)).append(':').append(quoted(value)));
        return out.append('}').toString();
    }

    private static String quoted(Object value) {
        if (value == null) {
            return "null";
        }
        StringBuilder out = new StringBuilder("\"");
        value.toString().chars().forEach(c -> {
            if (c < ' ' || c == '"' || c == '\\') {
                out.append(String.format("\\u%04x", c));
            } else {
                out.append((char) c);
            }
        });
        return out.append('"').toString();
    }
}
